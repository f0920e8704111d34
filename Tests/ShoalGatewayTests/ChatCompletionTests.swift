import HTTPTypes
import HummingbirdTesting
import ShoalCore
import Testing

@testable import ShoalGateway

@Suite("POST /v1/chat/completions, not streamed")
struct ChatCompletionTests {
    private let minimal = #"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}"#

    @Test("the response has OpenAI's shape, byte for byte")
    func shape() async throws {
        let response = try await GatewayHarness().chat(minimal)
        #expect(response.status == .ok)
        #expect(
            response.text == """
                {"id":"chatcmpl-000000000000002a","object":"chat.completion","created":1700000001,"model":"tiny",\
                "system_fingerprint":"shoal-\(ShoalVersion.current)","choices":[{"index":0,"message":\
                {"role":"assistant","content":"Hello world"},"logprobs":null,"finish_reason":"stop"}],\
                "usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9,"prompt_tokens_details":\
                {"cached_tokens":2}},"timings":{"cache_n":2,"prompt_n":5,"prompt_ms":500.0,"prompt_per_second":10.0,\
                "predicted_n":2,"predicted_ms":500.0,"predicted_per_second":2.0,"queue_ms":250.0}}
                """)
    }

    @Test("headers say which instance and which node answered")
    func headers() async throws {
        let response = try await GatewayHarness().chat(
            #"{"model":"models/tiny.gguf","messages":[{"role":"user","content":"Hi"}]}"#)
        #expect(response.headers[.shoalInstance] == "0000000000000abc")
        #expect(response.headers[.shoalHead] == "a")
        #expect(response.headers[.contentType] == "application/json; charset=utf-8")
    }

    @Test("every sampling field reaches the cluster")
    func sampling() async throws {
        let harness = GatewayHarness()
        _ = try await harness.chat(
            """
            {"model":"tiny","messages":[{"role":"user","content":"Hi"}],"temperature":0.5,"top_p":0.9,"top_k":40,\
            "min_p":0.05,"seed":7,"frequency_penalty":0.1,"presence_penalty":-0.1,"repeat_penalty":1.1,\
            "logit_bias":{"5":-100,"6":2.5},"max_tokens":12,"stop":["a","b"],"unknown":{"x":[1]}}
            """)
        let request = try #require(harness.inference.requests.first)
        #expect(request.sampling.temperature == 0.5)
        #expect(request.sampling.topP == 0.9)
        #expect(request.sampling.topK == 40)
        #expect(request.sampling.minP == 0.05)
        #expect(request.sampling.seed == 7)
        #expect(request.sampling.frequencyPenalty == 0.1)
        #expect(request.sampling.presencePenalty == -0.1)
        #expect(request.sampling.repetitionPenalty == 1.1)
        #expect(
            request.sampling.logitBias == [
                .init(token: TokenID(rawValue: 5), bias: -100), .init(token: TokenID(rawValue: 6), bias: 2.5),
            ])
        #expect(request.outputTokenCountMax == 12)
        #expect(request.stopSequences == ["a", "b"])
    }

    @Test("messages keep roles and join text parts; developer is system")
    func messages() async throws {
        let harness = GatewayHarness()
        _ = try await harness.chat(
            """
            {"model":"tiny","messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":\
            [{"type":"text","text":"one "},{"type":"text","text":"two"}]},{"role":"assistant","content":null}]}
            """)
        let request = try #require(harness.inference.requests.first)
        guard case .chat(let messages) = request.input else {
            Issue.record("the input is not a chat: \(request.input)")
            return
        }
        #expect(
            messages == [
                ChatMessage(role: "system", content: "Be brief."), ChatMessage(role: "user", content: "one two"),
                ChatMessage(role: "assistant", content: ""),
            ])
    }

    @Test("stop may be one string, and max_completion_tokens wins over max_tokens")
    func stopString() async throws {
        let harness = GatewayHarness()
        _ = try await harness.chat(
            """
            {"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stop":"END","max_tokens":5,\
            "max_completion_tokens":9}
            """)
        let request = try #require(harness.inference.requests.first)
        #expect(request.stopSequences == ["END"])
        #expect(request.outputTokenCountMax == 9)
    }

    @Test("n answers come in order of their index, with seeds that count up")
    func several() async throws {
        let inference = ScriptedInference { _, index in .events(.answer(["answer \(index)"])) }
        let harness = GatewayHarness(inference: inference)
        let response = try await harness.chat(
            #"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"n":9,"seed":10}"#)
        for index in 0..<9 {
            let choice = response.json["choices"]?[index]
            #expect(choice?["index"] == .integer(index))
            #expect(choice?["message"]?["content"] == .string("answer \(index)"))
        }
        #expect(inference.requests.map(\.sampling.seed) == (10..<19).map { UInt32($0) })
        #expect(response.json["usage"]?["prompt_tokens"] == .integer(7))
        #expect(response.json["usage"]?["completion_tokens"] == .integer(9))
    }

    @Test(
        "response_format reaches the cluster with the schema's own order",
        arguments: [
            (#"{"type":"text"}"#, GenerationRequest.ResponseFormat.text),
            (#"{"type":"json_object"}"#, .jsonObject),
            (#"{"type":"json_object","schema":{"type":"object"}}"#, .jsonSchema(#"{"type":"object"}"#)),
            (
                #"{"type":"json_schema","json_schema":{"strict":true,"schema":{"z":1,"a":{"y":[],"b":0.5}}}}"#,
                .jsonSchema(#"{"z":1,"a":{"y":[],"b":0.5}}"#)
            ),
        ])
    func responseFormat(text: String, expected: GenerationRequest.ResponseFormat) async throws {
        let harness = GatewayHarness()
        _ = try await harness.chat(
            #"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"response_format":\#(text)}"#)
        #expect(harness.inference.requests.first?.responseFormat == expected)
    }

    @Test("a failure in the middle of an answer becomes its status, not half an answer")
    func failureMidway() async throws {
        let inference = ScriptedInference { _, _ in
            .events([
                .started(promptTokenCount: 3, headName: "a"), .text("Hel", tokens: [TokenID(rawValue: 1)]),
                .failed(ShoalError(.engineLost, "the engine on node b died")),
            ])
        }
        let response = try await GatewayHarness(inference: inference).chat(minimal)
        #expect(response.status == .serviceUnavailable)
        #expect(response.error["message"] == "the engine on node b died")
        #expect(response.error["code"] == "engine_lost")
    }

    @Test("consumed tokens are reported to the head")
    func consumption() async throws {
        let harness = GatewayHarness()
        _ = try await harness.chat(minimal)
        #expect(harness.inference.consumedTokenCount == 2)
    }
}
