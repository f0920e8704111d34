import ShoalCore

/// What all chunks of one response have in common, and how they are built.
struct AnswerEnvelope<Dialect: AnswerDialect>: Sendable {
    var dialect: Dialect
    var requestID: RequestID
    var createdUnixSeconds: Int
    var model: String
    var includesUsage: Bool

    /// The first chunk of an answer; nil where the dialect has none.
    func opening(answer index: Int) -> JSONValue? {
        dialect.opening(answer: index).map { chunk(answer: index, $0, finish: .null) }
    }

    /// A chunk with more text.
    func delta(answer index: Int, text: String) -> JSONValue {
        chunk(answer: index, dialect.delta(text: text), finish: .null)
    }

    /// The last chunk of an answer.
    func end(answer index: Int, _ reason: FinishReason, _ usage: GenerationUsage) -> JSONValue {
        chunk(
            answer: index, dialect.delta(text: ""), finish: .string(reason.rawValue),
            further: [.init("timings", usage.timings)])
    }

    /// The chunk after all answers that `stream_options.include_usage` asks for.
    func usageChunk(_ totals: UsageTotals) -> JSONValue {
        .object(members(object: Dialect.chunkObjectName, choices: []) + [.init("usage", totals.json)])
    }

    /// A response that is not streamed.
    func whole(_ answers: [CollectedAnswer], _ totals: UsageTotals) -> JSONValue {
        let choices = answers.enumerated().map { index, answer in
            choice(
                answer: index, dialect.whole(text: dialect.leadingText(answer: index) + answer.text),
                finish: answer.finishReason.map { .string($0.rawValue) } ?? .null)
        }
        var members = members(object: Dialect.objectName, choices: choices)
        members.append(.init("usage", totals.json))
        if let usage = answers.first?.usage { members.append(.init("timings", usage.timings)) }
        return .object(members)
    }

    private func chunk(
        answer index: Int, _ content: JSONValue.Member, finish: JSONValue, further: [JSONValue.Member] = []
    ) -> JSONValue {
        var members = members(
            object: Dialect.chunkObjectName, choices: [choice(answer: index, content, finish: finish)])
        // OpenAI sends `"usage": null` in all chunks but the last where usage was asked for.
        if includesUsage { members.append(.init("usage", .null)) }
        return .object(members + further)
    }

    private func choice(answer index: Int, _ content: JSONValue.Member, finish: JSONValue) -> JSONValue {
        .object([.init("index", .integer(index)), content, .init("logprobs", .null), .init("finish_reason", finish)])
    }

    private func members(object: String, choices: [JSONValue]) -> [JSONValue.Member] {
        [
            .init("id", .string("\(Dialect.identifierPrefix)-\(requestID)")),
            .init("object", .string(object)),
            .init("created", .integer(createdUnixSeconds)),
            .init("model", .string(model)),
            .init("system_fingerprint", .string("shoal-\(ShoalVersion.current)")),
            .init("choices", .array(choices)),
        ]
    }
}

/// One answer of a response that is not streamed.
struct CollectedAnswer: Sendable {
    var text = ""
    var finishReason: FinishReason?
    var usage: GenerationUsage?
}
