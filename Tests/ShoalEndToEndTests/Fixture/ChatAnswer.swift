import ShoalCore
import Testing

extension ClusterFixture {
    /// What the first node's chat endpoint answers to one message, with guesses as `speculate` says.
    func chatAnswer(
        _ model: String, _ prompt: String, _ fields: [String: Any], speculate: String, tokenCount: Int
    ) async throws -> String {
        var body: [String: Any] = [
            "model": model, "max_tokens": tokenCount, "speculate": speculate,
            "messages": [["role": "user", "content": prompt]],
        ]
        body.merge(fields) { _, new in new }
        let (status, data) = try await send(
            .POST, "/v1/chat/completions", to: nodes[0], body: JSONObject(body).text)
        let answer = try JSONObject(data)
        #expect(status == 200, "\(answer.text)")
        return try #require(answer.string(["choices", 0, "message", "content"]))
    }
}
