/// How the next token is chosen. Defaults are those of OpenAI's API where it has one, else "off".
package struct SamplingParameters: Hashable, Sendable, Codable {
    /// 0 is greedy.
    package var temperature: Float = 1
    /// Keep the k most likely tokens; 0 is off.
    package var topK: Int32 = 0
    /// Keep the most likely tokens that sum to p; 1 is off.
    package var topP: Float = 1
    /// Drop tokens less likely than this share of the most likely one; 0 is off.
    package var minP: Float = 0
    /// Divides (or multiplies) logits of repeated tokens; 1 is off.
    package var repetitionPenalty: Float = 1
    /// OpenAI's frequency penalty; 0 is off.
    package var frequencyPenalty: Float = 0
    /// OpenAI's presence penalty; 0 is off.
    package var presencePenalty: Float = 0
    /// How many of the last tokens the penalties look at.
    package var penaltyTokenCount: Int32 = 64
    /// Same seed, same prompt, same instance: same answer. Nil draws one.
    package var seed: UInt32?
    /// Added to the logits of single tokens.
    package var logitBias: [TokenBias] = []
    /// A GBNF grammar that the answer follows.
    package var grammar: String?

    package init() {}

    /// One entry of `logit_bias`.
    package struct TokenBias: Hashable, Sendable, Codable {
        package var token: TokenID
        package var bias: Float

        package init(token: TokenID, bias: Float) {
            self.token = token
            self.bias = bias
        }
    }

    /// Whether the choice depends on the tokens before.
    package var looksBack: Bool {
        penaltyTokenCount > 0 && (repetitionPenalty != 1 || frequencyPenalty != 0 || presencePenalty != 0)
    }

    package static var greedy: SamplingParameters {
        var parameters = SamplingParameters()
        parameters.temperature = 0
        return parameters
    }
}

/// What a sampler has to know of its sequence before its first choice.
package struct SamplerHistory: Hashable, Sendable, Codable {
    /// The end of the prompt, for penalties; empty when there are none.
    package var prompt: [TokenID]
    /// Tokens that an earlier sampler of the same answer chose: penalties count them, the grammar has seen them, and
    /// their draws of chance are used up.
    package var output: [TokenID]

    package init(prompt: [TokenID] = [], output: [TokenID] = []) {
        self.prompt = prompt
        self.output = output
    }
}
