import Foundation
import ShoalCore
import Testing

@Suite("Identifiers")
struct IdentifierTests {
    private func json(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode([value]), as: UTF8.self)
    }

    private func decoded<Value: Decodable>(_ type: Value.Type, _ json: String) throws -> Value {
        try #require(try JSONDecoder().decode([Value].self, from: Data(json.utf8)).first)
    }

    @Test("a node id is lowercase hexadecimal of 1 to 64 characters")
    func nodeIDs() throws {
        #expect(NodeID("00ff")?.rawValue == "00ff")
        #expect(NodeID(String(repeating: "a", count: 64)) != nil)
        for text in ["", "00FF", "xyz", "0 1", String(repeating: "a", count: 65), "é"] {
            #expect(NodeID(text) == nil, "\(text)")
            #expect(throws: DecodingError.self) { try decoded(NodeID.self, "[\"\(text)\"]") }
        }
        let id = NodeID.random()
        #expect(id.rawValue.count == 32)
        #expect(try decoded(NodeID.self, json(id)) == id)
    }

    @Test("an instance id is 16 hexadecimal characters, in JSON too, at any size")
    func instanceIDs() throws {
        let large = InstanceID(rawValue: .max)
        #expect(try json(large) == "[\"ffffffffffffffff\"]")
        #expect(try decoded(InstanceID.self, json(large)) == large)
        #expect(InstanceID(rawValue: 10).description == "000000000000000a")
        #expect(InstanceID("000000000000000a") == InstanceID(rawValue: 10))
        for text in ["", "a", "000000000000000g", "0000000000000000a"] {
            #expect(InstanceID(text) == nil, "\(text)")
            #expect(throws: DecodingError.self) { try decoded(InstanceID.self, "[\"\(text)\"]") }
        }
    }

    @Test("tokens and byte counts are plain numbers in JSON")
    func tokens() throws {
        #expect(try json(TokenID(rawValue: -1)) == "[-1]")
        #expect(try decoded(TokenID.self, "[7]") == TokenID(rawValue: 7))
    }

    @Test("sequence and request ids round trip")
    func others() throws {
        #expect(try decoded(SequenceID.self, json(SequenceID(rawValue: 3))) == SequenceID(rawValue: 3))
        let request = RequestID.random()
        #expect(try decoded(RequestID.self, json(request)) == request)
    }

    @Test("an error code from a newer peer is kept")
    func unknownErrorCode() throws {
        let error = try decoded(ShoalError.self, #"[{"code":"from_the_future","message":"m"}]"#)
        #expect(error.code.rawValue == "from_the_future")
        #expect(try json(ShoalError(.overloaded, "m")).contains("\"overloaded\""))
        #expect(error.during("loading").message == "loading: m")
    }
}

@Suite("Usage")
struct GenerationUsageTests {
    private func usage(outputs: Int, prefill: Double, decode: Double) -> GenerationUsage {
        GenerationUsage(
            promptTokenCount: 100, outputTokenCount: outputs, reusedTokenCount: 20, queueSeconds: 0,
            prefillSeconds: prefill, decodeSeconds: decode)
    }

    @Test("speeds count what was computed: the prompt without what was reused, the answer without its first token")
    func speeds() {
        #expect(usage(outputs: 11, prefill: 2, decode: 5).prefillTokensPerSecond == 40)
        #expect(usage(outputs: 11, prefill: 2, decode: 5).decodeTokensPerSecond == 2)
        #expect(usage(outputs: 1, prefill: 2, decode: 0).decodeTokensPerSecond == nil)
        #expect(usage(outputs: 0, prefill: 0, decode: 0).prefillTokensPerSecond == nil)
    }
}
