internal import CLlama
internal import CShoalEngine
package import ShoalCore

/// Chooses one sequence's tokens from logits: llama.cpp's samplers, in the order logit bias, penalties, grammar, top-k,
/// min-p, top-p, temperature, draw.
///
/// Owned by the engine thread. Penalties count the prompt too, the grammar is about the answer alone.
package final class Sampler {
    private let pointer: OpaquePointer
    private let vocabulary: Vocabulary?
    private let vocabularyTokenCount: Int

    /// Goes on behind `history` as if this sampler had chosen its output. `vocabulary` may be nil for models without
    /// one, which then cannot have a grammar. Throws `invalidRequest` for values out of range, grammars that cannot be
    /// parsed, and a history that the grammar does not allow.
    package init(
        _ parameters: SamplingParameters, history: SamplerHistory, vocabulary: Vocabulary?, vocabularyTokenCount: Int
    ) throws(ShoalError) {
        try parameters.validate(vocabularyTokenCount: vocabularyTokenCount)
        try history.validate(vocabularyTokenCount: vocabularyTokenCount)
        let usable = vocabulary.flatMap { $0.tokenCount == vocabularyTokenCount ? $0 : nil }
        var error: UnsafeMutablePointer<CChar>?
        let sampler = parameters.withShoalSampling { sampling in
            shoal_sampler_create(usable?.pointer, Int32(vocabularyTokenCount), &sampling, &error)
        }
        guard let sampler else {
            throw ShoalError(.invalidRequest, "sampling: \(LlamaLibrary.taken(error) ?? "the sampler was refused")")
        }
        pointer = sampler
        self.vocabulary = vocabulary
        self.vocabularyTokenCount = vocabularyTokenCount
        try accept(history.prompt, isOutput: false)
        try accept(history.output, isOutput: true)
    }

    private func accept(_ tokens: [TokenID], isOutput: Bool) throws(ShoalError) {
        guard !tokens.isEmpty else { return }
        var error: UnsafeMutablePointer<CChar>?
        guard shoal_sampler_accept(pointer, tokens.map(\.rawValue), tokens.count, isOutput, &error) else {
            throw ShoalError(
                .invalidRequest, "sampling: \(LlamaLibrary.taken(error) ?? "the tokens so far were refused")")
        }
    }

    deinit { shoal_sampler_free(pointer) }

    /// The token that follows, from one row of `vocabularyTokenCount` logits. Throws `invalidRequest` when the grammar
    /// allows none.
    package func sample(_ logits: ArraySlice<Float>) throws(ShoalError) -> TokenID {
        precondition(logits.count == vocabularyTokenCount, "a row of logits has one element per token")
        var error: UnsafeMutablePointer<CChar>?
        let token = logits.withUnsafeBufferPointer { shoal_sampler_sample(pointer, $0.baseAddress, &error) }
        guard token >= 0 else {
            throw ShoalError(.invalidRequest, "sampling: \(LlamaLibrary.taken(error) ?? "no token was chosen")")
        }
        return TokenID(rawValue: token)
    }

    /// The most likely token; the first of equals.
    package static func mostLikely(_ logits: ArraySlice<Float>) -> TokenID {
        var best = logits.startIndex
        for index in logits.indices where logits[index] > logits[best] { best = index }
        return TokenID(rawValue: Int32(best - logits.startIndex))
    }
}

extension SamplingParameters {
    private static let grammarByteCountMax = 1 << 20
    private static let penaltyTokenCountMax: Int32 = 1 << 16

    fileprivate func validate(vocabularyTokenCount: Int) throws(ShoalError) {
        try require("temperature", temperature, temperature >= 0)
        try require("top_p", topP, topP > 0 && topP <= 1)
        try require("min_p", minP, minP >= 0 && minP < 1)
        try require("repetition penalty", repetitionPenalty, repetitionPenalty > 0)
        try require("frequency penalty", frequencyPenalty, true)
        try require("presence penalty", presencePenalty, true)
        try require("top_k", Float(topK), topK >= 0)
        try require(
            "penalty token count", Float(penaltyTokenCount), (0...Self.penaltyTokenCountMax).contains(penaltyTokenCount)
        )
        for bias in logitBias {
            try require("logit bias of token \(bias.token)", bias.bias, true)
            guard (0..<vocabularyTokenCount).contains(Int(bias.token.rawValue)) else {
                throw ShoalError(
                    .invalidRequest,
                    "logit bias: token \(bias.token) is outside the vocabulary of \(vocabularyTokenCount) tokens")
            }
        }
        if let grammar, grammar.utf8.count > Self.grammarByteCountMax {
            throw ShoalError(
                .invalidRequest, "a grammar of \(grammar.utf8.count) bytes; the limit is \(Self.grammarByteCountMax)")
        }
    }

    private func require(_ name: String, _ value: Float, _ isInRange: Bool) throws(ShoalError) {
        guard value.isFinite, isInRange else {
            throw ShoalError(.invalidRequest, "\(name) of \(value) is out of range")
        }
    }

    fileprivate func withShoalSampling<Result>(_ body: (inout shoal_sampling) -> Result) -> Result {
        let tokens = logitBias.map(\.token.rawValue)
        let biases = logitBias.map(\.bias)
        return tokens.withUnsafeBufferPointer { tokens in
            biases.withUnsafeBufferPointer { biases in
                withCStrings(grammar.map { [$0] } ?? []) { grammar in
                    var sampling = shoal_sampling(
                        temperature: temperature, top_k: topK, top_p: topP, min_p: minP,
                        repetition_penalty: repetitionPenalty, frequency_penalty: frequencyPenalty,
                        presence_penalty: presencePenalty, penalty_token_count: penaltyTokenCount,
                        seed: drawnSeed, bias_tokens: tokens.baseAddress, biases: biases.baseAddress,
                        bias_count: tokens.count, grammar: grammar.pointee)
                    return body(&sampling)
                }
            }
        }
    }

    /// libllama reads its largest number as "draw a seed", which would break "same seed, same answer".
    private var drawnSeed: UInt32 {
        let seed = seed ?? .random(in: 0 ... .max)
        return seed == LLAMA_DEFAULT_SEED ? seed - 1 : seed
    }
}

extension SamplerHistory {
    fileprivate func validate(vocabularyTokenCount: Int) throws(ShoalError) {
        guard prompt.count + output.count <= 2 * Limits.contextTokenCountMax else {
            throw ShoalError(.invalidRequest, "a history of \(prompt.count + output.count) tokens is too long")
        }
        for token in prompt + output where !(0..<vocabularyTokenCount).contains(Int(token.rawValue)) {
            throw ShoalError(
                .invalidRequest, "history: token \(token) is outside the vocabulary of \(vocabularyTokenCount) tokens")
        }
    }
}
