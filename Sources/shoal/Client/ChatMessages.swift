import ShoalCore

/// The body of a streamed chat request.
struct ChatRequestBody: Encodable, Sendable {
    var model: String
    var messages: [ChatMessage]
    var stream = true
    var sampling: Sampling
    var seed: Int?
    var maxTokens: Int?

    /// How tokens are chosen.
    struct Sampling: Sendable, Hashable {
        var temperature: Double
        var topK: Int?
        var topP: Double?
        var minP: Double?

        /// What llama.cpp's own programs take. The API's default is the model's own distribution, whose unlikely
        /// tokens soon lead a small model astray.
        static let usual = Sampling(temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05)

        /// A temperature that somebody chose, and nothing else; nil is the usual.
        init(chosen temperature: Double?) {
            self = temperature.map { Sampling(temperature: $0) } ?? .usual
        }

        private init(temperature: Double, topK: Int? = nil, topP: Double? = nil, minP: Double? = nil) {
            self.temperature = temperature
            self.topK = topK
            self.topP = topP
            self.minP = minP
        }
    }

    private enum CodingKeys: String, CodingKey {
        case model, messages, stream, temperature, seed
        case maxTokens = "max_tokens"
        case topK = "top_k"
        case topP = "top_p"
        case minP = "min_p"
    }

    func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(model, forKey: .model)
        try fields.encode(messages, forKey: .messages)
        try fields.encode(stream, forKey: .stream)
        try fields.encode(sampling.temperature, forKey: .temperature)
        try fields.encodeIfPresent(sampling.topK, forKey: .topK)
        try fields.encodeIfPresent(sampling.topP, forKey: .topP)
        try fields.encodeIfPresent(sampling.minP, forKey: .minP)
        try fields.encodeIfPresent(seed, forKey: .seed)
        try fields.encodeIfPresent(maxTokens, forKey: .maxTokens)
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
