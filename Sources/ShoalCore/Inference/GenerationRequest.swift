/// One message of a conversation.
package struct ChatMessage: Hashable, Sendable, Codable {
    package var role: String
    package var content: String

    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// What an API dialect asks of an instance, in the cluster's own words.
package struct GenerationRequest: Sendable, Codable {
    /// What the model continues.
    package enum Input: Sendable, Codable {
        /// Rendered by the model's own chat template.
        case chat([ChatMessage])
        /// Taken as it is; special tokens in it are not parsed.
        case text(String)
        case tokens([TokenID])
    }

    /// How the answer must be shaped.
    package enum ResponseFormat: Sendable, Codable, Hashable {
        case text
        /// Any JSON object.
        case jsonObject
        /// JSON that follows this schema, itself JSON text.
        case jsonSchema(String)
    }

    package var id: RequestID
    /// The name a client used.
    package var model: String
    package var input: Input
    package var sampling: SamplingParameters
    /// The answer ends before the first of these; at most `Limits.stopSequenceCountMax`.
    package var stopSequences: [String]
    /// Nil means until the context is full.
    package var outputTokenCountMax: Int?
    package var responseFormat: ResponseFormat
    /// Nil: as the instance was loaded.
    package var speculation: SpeculationMode?
    /// What the reader has of the answer from an instance that was lost; it goes on behind that. Nil for a new one.
    package var answerSoFar: [TokenID]?

    package init(id: RequestID, model: String, input: Input) {
        self.id = id
        self.model = model
        self.input = input
        self.sampling = SamplingParameters()
        self.stopSequences = []
        self.outputTokenCountMax = nil
        self.responseFormat = .text
    }
}

/// Why an answer ended by itself.
package enum FinishReason: String, Sendable, Codable {
    /// The model ended it, or a stop sequence came.
    case stop
    /// `outputTokenCountMax` or the context was reached.
    case length
}

/// Tokens and times of one answer.
package struct GenerationUsage: Hashable, Sendable, Codable {
    package var promptTokenCount: Int
    package var outputTokenCount: Int
    /// Prompt tokens whose KV was already there.
    package var reusedTokenCount: Int
    /// From admission to a free sequence.
    package var queueSeconds: Double
    /// From the first micro-batch of the prompt to the first token.
    package var prefillSeconds: Double
    /// From the first token to the last.
    package var decodeSeconds: Double

    package init(
        promptTokenCount: Int, outputTokenCount: Int, reusedTokenCount: Int, queueSeconds: Double,
        prefillSeconds: Double, decodeSeconds: Double
    ) {
        self.promptTokenCount = promptTokenCount
        self.outputTokenCount = outputTokenCount
        self.reusedTokenCount = reusedTokenCount
        self.queueSeconds = queueSeconds
        self.prefillSeconds = prefillSeconds
        self.decodeSeconds = decodeSeconds
    }

    /// Prompt tokens per second; nil when nothing was computed.
    package var prefillTokensPerSecond: Double? {
        prefillSeconds > 0 ? Double(promptTokenCount - reusedTokenCount) / prefillSeconds : nil
    }

    /// Output tokens per second after the first; nil for answers of one token.
    package var decodeTokensPerSecond: Double? {
        decodeSeconds > 0 && outputTokenCount > 1 ? Double(outputTokenCount - 1) / decodeSeconds : nil
    }
}

/// What a client of an instance sees, in this order: `started`, any number of `text`, then one of the last three.
package enum GenerationEvent: Hashable, Sendable, Codable {
    /// The request was admitted. `headName` is the node that computes the answer's tokens.
    case started(promptTokenCount: Int, headName: String)
    /// More text, whole UTF-8 characters only, and the tokens that it took since the last event.
    case text(String, tokens: [TokenID])
    case finished(FinishReason, GenerationUsage)
    case failed(ShoalError)
    /// The instance ended, or cannot be reached: another one may go on with the answer.
    case lost(ShoalError)

    /// Whether nothing follows.
    package var isTerminal: Bool {
        switch self {
        case .started, .text: false
        case .finished, .failed, .lost: true
        }
    }
}
