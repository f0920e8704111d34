import NIOCore
import ShoalCore
import ShoalWire
import Testing

@Suite("JSON descriptions")
struct FrameJSONTests {
    private struct Sample: Codable, Equatable {
        var name: String
        var numbers: [Int]
    }

    @Test("a value survives, with sorted keys")
    func roundTrip() throws {
        let buffer = try FrameJSON.encode(Sample(name: "a/b", numbers: [1, 2]))
        #expect(String(buffer: buffer) == #"{"name":"a/b","numbers":[1,2]}"#)
        #expect(try FrameJSON.decode(Sample.self, from: buffer) == Sample(name: "a/b", numbers: [1, 2]))
    }

    @Test(
        "bad JSON is refused with the place",
        arguments: [
            (#"{"name":"a"}"#, "has no \"numbers\""), (#"{"name":1,"numbers":[]}"#, "name"), ("{", "Sample"),
            ("", "Sample"),
        ])
    func refused(text: String, reason: String) {
        let error = #expect(throws: ShoalError.self) {
            try FrameJSON.decode(Sample.self, from: ByteBuffer(string: text))
        }
        #expect(error?.code == .protocolViolation)
        #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    }

    @Test("JSON over the size limit is refused before it is parsed, and cannot be made")
    func oversized() {
        let text = String(repeating: "x", count: Limits.frameDescriptionByteCountMax)
        #expect(throws: ShoalError.self) { try FrameJSON.encode([text]) }
        #expect(throws: ShoalError.self) {
            try FrameJSON.decode(String.self, from: ByteBuffer(string: "\"\(text)\""))
        }
    }
}
