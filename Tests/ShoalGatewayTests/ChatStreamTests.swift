import HTTPTypes
import HummingbirdTesting
import ShoalCore
import Testing

@testable import ShoalGateway

@Suite("POST /v1/chat/completions, streamed")
struct ChatStreamTests {
    private let start = """
        {"id":"chatcmpl-000000000000002a","object":"chat.completion.chunk","created":1700000001,"model":"tiny",\
        "system_fingerprint":"shoal-\(ShoalVersion.current)","choices":
        """
    private let timings = """
        "timings":{"cache_n":2,"prompt_n":5,"prompt_ms":500.0,"prompt_per_second":10.0,"predicted_n":2,\
        "predicted_ms":500.0,"predicted_per_second":2.0,"queue_ms":250.0}
        """

    private func body(_ further: String = "") -> String {
        #"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stream":true\#(further)}"#
    }

    @Test("the stream has OpenAI's shape, byte for byte: role first, text, end, [DONE]")
    func shape() async throws {
        let response = try await GatewayHarness().chat(body())
        let expected = [
            #"\#(start)[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}"#,
            #"\#(start)[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}]}"#,
            #"\#(start)[{"index":0,"delta":{"content":" world"},"logprobs":null,"finish_reason":null}]}"#,
            #"\#(start)[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],\#(timings)}"#,
            "[DONE]",
        ]
        #expect(response.text == expected.map { "data: \($0)\n\n" }.joined())
    }

    @Test("headers announce an event stream that nobody may keep")
    func headers() async throws {
        let response = try await GatewayHarness().chat(body())
        #expect(response.status == .ok)
        #expect(response.headers[.contentType] == "text/event-stream; charset=utf-8")
        #expect(response.headers[.cacheControl] == "no-cache, no-transform")
        #expect(response.headers[.shoalInstance] == "0000000000000abc")
    }

    @Test("include_usage adds a last chunk with usage and empty choices, and null usage before")
    func usage() async throws {
        let response = try await GatewayHarness().chat(body(#","stream_options":{"include_usage":true}"#))
        let events = response.events
        #expect(events.count == 6)
        #expect(events[0].hasSuffix(#""finish_reason":null}],"usage":null}"#))
        #expect(
            events[4]
                == start + #"[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9,"#
                + #""prompt_tokens_details":{"cached_tokens":2}}}"#)
        #expect(events[5] == "[DONE]")
    }

    @Test("the answers of n are told apart by their index, each with its role and its end")
    func several() async throws {
        let inference = ScriptedInference { _, index in .events(.answer(["a\(index)", "b\(index)"], finish: .length)) }
        let response = try await GatewayHarness(inference: inference).chat(body(#","n":5"#))
        let choices = try response.events.dropLast().map {
            try #require(try JSONParser.parse(Array($0.utf8))["choices"])
        }
        for index in 0..<5 {
            let own = choices.map { $0[0] }.filter { $0["index"] == .integer(index) }
            #expect(own.first?["delta"]?["role"] == "assistant")
            #expect(own.compactMap { $0["delta"]?["content"]?.stringValue }.joined() == "a\(index)b\(index)")
            #expect(own.last?["finish_reason"] == "length")
            #expect(own.count == 4)
        }
    }

    @Test("a failure in the middle is an error event, and nothing follows it")
    func failureMidway() async throws {
        let inference = ScriptedInference { _, _ in
            .events([
                .started(promptTokenCount: 3, headName: "a"), .text("Hel", tokens: [TokenID(rawValue: 1)]),
                .failed(ShoalError(.linkLost, "node b is gone, and nothing else can hold layers 15-29")),
            ])
        }
        let response = try await GatewayHarness(inference: inference).chat(body())
        #expect(response.events.count == 3)
        #expect(
            response.events.last
                == #"{"error":{"message":"node b is gone, and nothing else can hold layers 15-29","#
                + #""type":"server_error","code":"link_lost","param":null}}"#)
    }

    @Test("a request that cannot start gets its status, because no stream has begun")
    func refusal() async throws {
        let inference = ScriptedInference { _, _ in .refusal(ShoalError(.overloaded, "256 requests wait already")) }
        let response = try await GatewayHarness(inference: inference).chat(body())
        #expect(response.status == .serviceUnavailable)
        #expect(response.headers[.retryAfter] == "1")
        #expect(response.error["code"] == "overloaded")
    }

    @Test("text is escaped so that an event stays one line")
    func escaping() async throws {
        let inference = ScriptedInference(pieces: ["a\n\n\"b\"\\ \u{1}é🐟"])
        let response = try await GatewayHarness(inference: inference).chat(body())
        #expect(response.events.count == 4)
        #expect(response.events[1].contains(#""content":"a\n\n\"b\"\\ \u0001é🐟""#))
    }
}
