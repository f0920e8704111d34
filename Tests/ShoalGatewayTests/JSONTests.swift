import Testing

@testable import ShoalGateway

@Suite("JSON")
struct JSONTests {
    private func parse(_ text: String) throws(JSONSyntaxError) -> JSONValue { try JSONParser.parse(Array(text.utf8)) }

    @Test(
        "what is read is written back",
        arguments: [
            "null", "true", "false", "0", "-7", "9223372036854775807", "0.5", "[]", "{}", #""""#, #""é🐟""#,
            #"{"b":[1,{"a":null}],"a":"\n\t\"\\"}"#,
        ])
    func roundTrip(text: String) throws {
        #expect(try parse(text).text == text)
    }

    @Test(
        "escapes are understood",
        arguments: [
            (#""\u0041\/""#, "A/"), (#""\ud83d\udc1f""#, "🐟"), (#""\ud83d""#, "\u{FFFD}"), (#""\ud83dx""#, "\u{FFFD}x"),
            (#""\udc1f""#, "\u{FFFD}"), (#""\ud83d\u0041""#, "\u{FFFD}A"),
        ])
    func escapes(text: String, expected: String) throws {
        #expect(try parse(text) == .string(expected))
    }

    @Test(
        "what RFC 8259 does not allow is refused",
        arguments: [
            "", " ", "{", "[1", "[1,]", #"{"a"}"#, #"{"a":}"#, "01", "1.", ".5", "+1", "1e", "-", "nul", "NaN", "'a'",
            #""\x""#, #""\u12g4""#, #""\u12"#, "\"\n\"", #""abc"#, "1 2", "1e999", "// c\n1",
        ])
    func invalid(text: String) {
        #expect(throws: JSONSyntaxError.self) { try parse(text) }
    }

    @Test("bytes that are not UTF-8 are refused")
    func notUTF8() {
        #expect(throws: JSONSyntaxError(problem: "a string is not valid UTF-8", line: 1, column: 2)) {
            try JSONParser.parse([0x22, 0xFF, 0x22])
        }
    }

    @Test("nesting is bounded, so that a hostile document cannot exhaust the stack")
    func depth() throws {
        let deepest = JSONParser.depthMax - 1
        _ = try parse(String(repeating: "[", count: deepest) + "1" + String(repeating: "]", count: deepest))
        #expect(throws: JSONSyntaxError.self) { try parse(String(repeating: "[", count: 1_000_000)) }
    }

    @Test("a prefix of a document never parses and never traps")
    func truncation() throws {
        let text = #"{"a":[1.5e-3,"\u00e9\n",true,null],"b":{"c":-0.25}}"#
        for length in 0..<text.utf8.count {
            #expect(throws: JSONSyntaxError.self) { try JSONParser.parse(Array(text.utf8.prefix(length))) }
        }
        _ = try parse(text)
    }
}
