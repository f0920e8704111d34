import ShoalCore

/// The body of a streamed chat request.
struct ChatRequestBody: Encodable, Sendable {
    var model: String
    var messages: [ChatMessage]
    var stream = true
    var temperature: Double?
    var seed: Int?
    var maxTokens: Int?

    private enum CodingKeys: String, CodingKey {
        case model, messages, stream, temperature, seed
        case maxTokens = "max_tokens"
    }
}

/// One event of a streamed chat answer: a chunk, or an error.
struct ChatEvent: Decodable, Sendable {
    struct Choice: Decodable, Sendable {
        var delta: Delta?
    }

    struct Delta: Decodable, Sendable {
        var content: String?
    }

    /// As llama-server writes them; milliseconds.
    struct Timings: Decodable, Sendable {
        var promptCount: Int
        var promptPerSecond: Double?
        var outputCount: Int
        var outputPerSecond: Double?

        private enum CodingKeys: String, CodingKey {
            case promptCount = "prompt_n"
            case promptPerSecond = "prompt_per_second"
            case outputCount = "predicted_n"
            case outputPerSecond = "predicted_per_second"
        }
    }

    var id: String?
    var choices: [Choice]?
    var timings: Timings?
    var error: ErrorBody.Detail?
}
