import Foundation
import ShoalCore
import Testing

@Suite("Layer ranges")
struct LayerRangeTests {
    @Test("the notation of --layers is inclusive")
    func parses() throws {
        let range = try #require(LayerRange(parsing: "0-14"))
        #expect(range.first == 0 && range.end == 15 && range.count == 15)
        #expect(range.contains(14) && !range.contains(15))
        #expect(try #require(LayerRange(parsing: "7")).count == 1)
    }

    @Test(
        "what is no range is refused",
        arguments: ["", "-", "5-4", "-1-3", "a-b", "1-2-3", "1-", "-4", "0-4096", "1 - 2"])
    func refuses(text: String) {
        #expect(LayerRange(parsing: text) == nil)
    }

    @Test("the description reads back", arguments: ["0-14", "7", "0-4095"])
    func describes(text: String) throws {
        #expect(try #require(LayerRange(parsing: text)).description == text)
    }

    @Test("an empty or negative range does not exist")
    func isNeverEmpty() {
        #expect(LayerRange(first: 3, end: 3) == nil)
        #expect(LayerRange(first: -1, end: 3) == nil)
        #expect(LayerRange(first: 4, end: 3) == nil)
    }

    @Test("JSON round trips, and an empty range in it is refused")
    func codes() throws {
        let range = try #require(LayerRange(first: 2, end: 9))
        #expect(try JSONDecoder().decode(LayerRange.self, from: JSONEncoder().encode(range)) == range)
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(LayerRange.self, from: Data(#"{"first":3,"end":3}"#.utf8))
        }
    }
}

@Suite("Layer assignments")
struct LayerAssignmentTests {
    @Test("--layers names a node and its layers, in order")
    func parses() throws {
        let assignments = try LoadRequest.assignments(parsing: "a=0-14,b=15-29")
        #expect(assignments.map(\.nodeName) == ["a", "b"])
        #expect(assignments.map(\.layers.description) == ["0-14", "15-29"])
    }

    @Test(
        "what cannot be read is refused, naming the part",
        arguments: [
            ("", ""), ("a=0-14,", ""), ("a0-14", "a0-14"), ("=0-14", "=0-14"), ("a=0-14,b=9-3", "b=9-3"),
            ("a=x", "a=x"), ("a=1=2", "a=1=2"),
        ])
    func refuses(text: String, part: String) {
        let error = #expect(throws: ShoalError.self) { try LoadRequest.assignments(parsing: text) }
        #expect(error?.code == .invalidPlacement)
        #expect(error?.message.contains("\"\(part)\"") == true)
    }
}
