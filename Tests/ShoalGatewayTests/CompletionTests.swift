import HTTPTypes
import HummingbirdTesting
import ShoalCore
import Testing

@testable import ShoalGateway

@Suite("POST /v1/completions")
struct CompletionTests {
    private func post(_ body: String, _ inference: ScriptedInference) async throws -> TestResponse {
        try await GatewayHarness(inference: inference).post("/v1/completions", body)
    }

    @Test("one prompt gets one text, of at most 16 tokens unless asked otherwise")
    func single() async throws {
        let inference = ScriptedInference(pieces: [" b", " c"])
        let response = try await post(#"{"model":"tiny","prompt":"a"}"#, inference)
        #expect(response.json["object"] == "text_completion")
        #expect(response.json["id"] == "cmpl-000000000000002a")
        #expect(response.json["choices"]?[0]["text"] == " b c")
        #expect(inference.requests.first?.outputTokenCountMax == 16)
        guard case .text("a")? = inference.requests.first?.input else {
            Issue.record("the prompt is not the text: \(inference.requests)")
            return
        }
    }

    @Test("a list of prompts with n gets the answers prompt by prompt, and counts each prompt once")
    func several() async throws {
        let inference = ScriptedInference { request, index in
            guard case .text(let prompt) = request.input else { return .refusal(ShoalError(.internal, "no text")) }
            return .events(.answer(["\(prompt)\(index)"]))
        }
        let response = try await post(#"{"model":"tiny","prompt":["x","y"],"n":2,"max_tokens":3}"#, inference)
        let texts = (0..<4).map { response.json["choices"]?[$0]["text"]?.stringValue }
        #expect(texts == ["x0", "x1", "y2", "y3"])
        #expect(response.json["usage"]?["prompt_tokens"] == .integer(14))
    }

    @Test("echo puts the prompt in front, streamed or not")
    func echo() async throws {
        let inference = ScriptedInference(pieces: ["lo"])
        let plain = try await post(#"{"model":"tiny","prompt":"Hel","echo":true}"#, inference)
        #expect(plain.json["choices"]?[0]["text"] == "Hello")
        let stream = try await post(#"{"model":"tiny","prompt":"Hel","echo":true,"stream":true}"#, inference)
        let texts = try stream.events.dropLast().map {
            try JSONParser.parse(Array($0.utf8))["choices"]?[0]["text"]?.stringValue
        }
        #expect(texts == ["Hel", "lo", ""])
    }

    @Test("a list of tokens is a prompt", arguments: ["[1,2,3]", "[[1,2,3]]"])
    func tokens(prompt: String) async throws {
        let inference = ScriptedInference(pieces: ["x"])
        let response = try await post(#"{"model":"tiny","prompt":\#(prompt)}"#, inference)
        #expect(response.status == .ok)
        guard case .tokens(let tokens)? = inference.requests.first?.input else {
            Issue.record("the prompt is not tokens: \(inference.requests)")
            return
        }
        #expect(tokens == [1, 2, 3].map { TokenID(rawValue: $0) })
    }

    @Test(
        "what cannot be done is refused by name",
        arguments: [
            (#""prompt":"a","suffix":"b""#, "suffix"), (#""prompt":"a","best_of":2"#, "best_of"),
            (#""prompt":"a","logprobs":1"#, "logprobs"), (#""prompt":[1],"echo":true"#, "echo"),
            (#""prompt":[]"#, "prompt"), (#""prompt":[1,"a"]"#, "prompt"), (#""prompt":[-1]"#, "prompt"),
            (#""prompt":["a","b"],"n":65"#, "prompt"), (#""n":1"#, "prompt"),
        ])
    func refused(fields: String, field: String) async throws {
        let inference = ScriptedInference(pieces: ["x"])
        let response = try await post(#"{"model":"tiny",\#(fields)}"#, inference)
        #expect(response.status == .badRequest)
        #expect(response.error["param"] == .string(field))
        #expect(inference.requests.isEmpty)
    }
}
