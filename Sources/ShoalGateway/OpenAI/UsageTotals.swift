import ShoalCore

/// Token counts of a whole response. Answers to the same prompt count its tokens once, as OpenAI does.
struct UsageTotals: Sendable {
    /// Answers that share one prompt; they are numbered prompt by prompt.
    let answerCountPerPrompt: Int
    private var promptTokenCount = 0
    private var reusedTokenCount = 0
    private var outputTokenCount = 0

    init(answerCountPerPrompt: Int) { self.answerCountPerPrompt = answerCountPerPrompt }

    /// Counts one finished answer.
    mutating func add(_ usage: GenerationUsage, answer index: Int) {
        outputTokenCount += usage.outputTokenCount
        guard index % answerCountPerPrompt == 0 else { return }
        promptTokenCount += usage.promptTokenCount
        reusedTokenCount += usage.reusedTokenCount
    }

    /// OpenAI's `usage`.
    var json: JSONValue {
        [
            "prompt_tokens": .integer(promptTokenCount),
            "completion_tokens": .integer(outputTokenCount),
            "total_tokens": .integer(promptTokenCount + outputTokenCount),
            "prompt_tokens_details": ["cached_tokens": .integer(reusedTokenCount)],
        ]
    }
}

extension GenerationUsage {
    /// `timings` as llama-server writes it; milliseconds, and null where a rate cannot be told.
    var timings: JSONValue {
        [
            "cache_n": .integer(reusedTokenCount),
            "prompt_n": .integer(promptTokenCount - reusedTokenCount),
            "prompt_ms": .number(prefillSeconds * 1000),
            "prompt_per_second": prefillTokensPerSecond.map(JSONValue.number) ?? .null,
            "predicted_n": .integer(outputTokenCount),
            "predicted_ms": .number(decodeSeconds * 1000),
            "predicted_per_second": decodeTokensPerSecond.map(JSONValue.number) ?? .null,
            "queue_ms": .number(queueSeconds * 1000),
        ]
    }
}
