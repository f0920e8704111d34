import HTTPTypes
import HummingbirdTesting
import ShoalCore
import Testing

@testable import ShoalGateway

@Suite("Requests that are refused")
struct RequestErrorTests {
    /// A chat request with further fields.
    private static func chat(_ further: String) -> String {
        #"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],\#(further)}"#
    }

    @Test(
        "a wrong field is refused with 400, its name, and what it should be",
        arguments: [
            (chat(#""temperature":"warm""#), "temperature", #""temperature" must be a number, not a string"#),
            (chat(#""temperature":-1"#), "temperature", #""temperature" must be between 0.0 and 100.0, not -1.0"#),
            (chat(#""top_p":2"#), "top_p", #""top_p" must be between 0.0 and 1.0, not 2.0"#),
            (chat(#""n":0"#), "n", #""n" must be between 1 and 128, not 0"#),
            (chat(#""n":1.5"#), "n", #""n" must be an integer, not a number"#),
            (chat(#""max_tokens":0"#), "max_tokens", #""max_tokens" must be at least 1, or -1 for no limit"#),
            (chat(#""stream":"yes""#), "stream", #""stream" must be true or false, not a string"#),
            (chat(#""stop":[1]"#), "stop", #""stop" must be a string or an array of strings, not an integer"#),
            (chat(#""stop":"""#), "stop", #""stop" has an entry of 0 bytes; 1 to 1024 work"#),
            (
                chat(#""stream_options":{"include_usage":1}"#), "stream_options.include_usage",
                #""stream_options.include_usage" must be true or false, not an integer"#
            ),
            (
                chat(#""logit_bias":{"x":1}"#), "logit_bias",
                #""logit_bias" has the name "x", which is not a token number"#
            ),
            (
                chat(#""response_format":{"type":"xml"}"#), "response_format.type",
                #""response_format.type" must be text, json_object or json_schema, not "xml""#
            ),
            (chat(#""tools":[{}]"#), "tools", #""tools" is not supported yet; send the request without it"#),
            (chat(#""logprobs":true"#), "logprobs", #""logprobs" is not supported yet; send the request without it"#),
            (#"{"messages":[]}"#, "model", #""model" is missing; it must be a string"#),
            (
                #"{"model":"tiny","messages":[]}"#, "messages",
                #""messages" is missing; it must be an array of at least one message"#
            ),
            (
                #"{"model":"tiny","messages":[{"role":"king","content":"x"}]}"#, "messages[0].role",
                #""messages[0].role" must be system, developer, user or assistant, not "king""#
            ),
            (
                #"{"model":"tiny","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
                "messages[0].content",
                #""messages[0].content" has a part of type "image_url", which is not supported yet; only text is"#
            ),
        ])
    func wrongField(body: String, field: String, message: String) async throws {
        let harness = GatewayHarness()
        let response = try await harness.chat(body)
        #expect(response.status == .badRequest)
        #expect(response.error["message"] == .string(message))
        #expect(response.error["param"] == .string(field))
        #expect(response.error["type"] == "invalid_request_error")
        #expect(response.error["code"] == "invalid_request")
        #expect(harness.inference.requests.isEmpty)
    }

    @Test(
        "a body that is not JSON is refused with the place",
        arguments: [
            ("", "the document ends where a value should be at line 1, column 1"),
            ("{\"model\":\n  tiny}", "a value is not \"true\" at line 2, column 3"),
            (#"{"model":"tiny",}"#, "a member name in double quotes is missing at line 1, column 17"),
            (#"{"a":1} x"#, "unexpected text after the end of the document at line 1, column 9"),
        ])
    func notJSON(body: String, problem: String) async throws {
        let response = try await GatewayHarness().chat(body)
        #expect(response.status == .badRequest)
        #expect(response.error["message"] == .string("the request body is not valid JSON: \(problem)"))
    }

    @Test("a body that is JSON but no object is refused")
    func notAnObject() async throws {
        let response = try await GatewayHarness().chat("[1]")
        #expect(response.status == .badRequest)
        #expect(response.error["message"] == "the request body must be a JSON object, not an array")
    }

    @Test("an unknown model is 404 model_not_found", arguments: ["/v1/chat/completions", "/v1/completions"])
    func unknownModel(path: String) async throws {
        let response = try await GatewayHarness().post(
            path, #"{"model":"huge","prompt":"x","messages":[{"role":"user","content":"Hi"}]}"#)
        #expect(response.status == .notFound)
        #expect(response.error["code"] == "model_not_found")
        #expect(response.error["param"] == "model")
    }

    @Test("a prompt that does not fit is 400 context_length_exceeded")
    func contextOverflow() async throws {
        let inference = ScriptedInference { _, _ in
            .refusal(ShoalError(.contextOverflow, "the prompt has 9031 tokens, the context 2048"))
        }
        let response = try await GatewayHarness(inference: inference).chat(Self.chat(#""n":1"#))
        #expect(response.status == .badRequest)
        #expect(response.error["code"] == "context_length_exceeded")
    }

    @Test("a path that does not exist is 404 in JSON")
    func unknownPath() async throws {
        let response = try await GatewayHarness().send(.get, "/v2/nothing")
        #expect(response.status == .notFound)
        #expect(response.error["message"] == "there is nothing at /v2/nothing")
        #expect(response.error["code"] == "not_found")
    }

    @Test("a method that a path does not have is 405 with those it has")
    func wrongMethod() async throws {
        let response = try await GatewayHarness().send(.get, "/v1/chat/completions")
        #expect(response.status == .methodNotAllowed)
        #expect(response.error["message"] == "/v1/chat/completions answers POST, not GET")
    }

    @Test(
        "every code that the cluster knows has its own row",
        arguments: ErrorTable.rows.keys.sorted { $0.rawValue < $1.rawValue })
    func table(code: ShoalError.Code) async throws {
        let inference = ScriptedInference { _, _ in .refusal(ShoalError(code, "why")) }
        let response = try await GatewayHarness(inference: inference).chat(Self.chat(#""n":1"#))
        #expect(response.status == ErrorTable.row(for: code).status)
        #expect(response.error["type"] == .string(ErrorTable.row(for: code).type))
        #expect(response.error["code"] == .string(code.rawValue))
        #expect(response.error["message"] == "why")
    }

    @Test("a code that a newer peer invented is a server error that keeps its name")
    func unknownCode() async throws {
        let inference = ScriptedInference { _, _ in .refusal(ShoalError(.init(rawValue: "eaten_by_shark"), "why")) }
        let response = try await GatewayHarness(inference: inference).chat(Self.chat(#""n":1"#))
        #expect(response.status == .internalServerError)
        #expect(response.error["code"] == "eaten_by_shark")
    }
}
