import ShoalCore

/// A request that owns a sequence, and how far it is.
struct RunningRequest: Sendable {
    let request: TokenizedRequest
    let sequence: SequenceID
    /// What the request asked for, or what is left of the context.
    let outputTokenCountMax: Int
    let submittedAt: Duration
    let admittedAt: Duration

    /// Prompt tokens that were sent.
    var promptSentCount = 0
    /// Sampled but not yet sent for decoding.
    var pendingToken: TokenID?
    /// Sampled tokens that belong to the answer; the token that ends it does not.
    var outputTokenCount = 0
    var text: TextAssembler
    /// Tokens that no text event has told of yet.
    var untoldTokenCount = 0
    /// Tokens told but not consumed.
    var unacknowledgedTokenCount = 0
    var prefillStartedAt: Duration?
    var firstTokenAt: Duration?
    var lastTokenAt: Duration?

    init(_ queued: QueuedRequest, sequence: SequenceID, outputTokenCountMax: Int, now: Duration) {
        request = queued.request
        self.sequence = sequence
        self.outputTokenCountMax = outputTokenCountMax
        submittedAt = queued.submittedAt
        admittedAt = now
        text = TextAssembler(stopSequences: queued.request.stopSequences)
    }

    /// KV cells that nobody else may count on.
    var reservedCellCount: Int { request.promptTokens.count + outputTokenCountMax }

    var promptRemainingCount: Int { request.promptTokens.count - promptSentCount }

    /// Position of the next decoded token: the last sampled one has no cell yet.
    var decodePosition: Int { request.promptTokens.count + outputTokenCount - 1 }

    func isPaused(beyond unacknowledgedTokenCountMax: Int) -> Bool {
        unacknowledgedTokenCount >= unacknowledgedTokenCountMax
    }

    /// Prompt tokens from the first unsent one, the last of the prompt wanting an output.
    mutating func takePromptChunk(tokenCountMax: Int, now: Duration) -> [BatchEntry] {
        let end = min(request.promptTokens.count, promptSentCount + tokenCountMax)
        let entries = (promptSentCount..<end).map { position in
            BatchEntry(
                sequence: sequence, position: Int32(position), token: request.promptTokens[position],
                wantsOutput: position == request.promptTokens.count - 1)
        }
        promptSentCount = end
        if prefillStartedAt == nil { prefillStartedAt = now }
        return entries
    }

    /// The pending token as an entry; nil while there is none or its output is under way.
    mutating func takeDecodeEntry() -> BatchEntry? {
        guard let token = pendingToken else { return nil }
        pendingToken = nil
        return BatchEntry(sequence: sequence, position: Int32(decodePosition), token: token, wantsOutput: true)
    }

    func usage() -> GenerationUsage {
        GenerationUsage(
            promptTokenCount: request.promptTokens.count, outputTokenCount: outputTokenCount, reusedTokenCount: 0,
            queueSeconds: seconds(admittedAt - submittedAt),
            prefillSeconds: seconds(from: prefillStartedAt, to: firstTokenAt),
            decodeSeconds: seconds(from: firstTokenAt, to: lastTokenAt))
    }
}

/// A request that waits for a sequence.
struct QueuedRequest: Sendable {
    let request: TokenizedRequest
    let submittedAt: Duration
}

private func seconds(from start: Duration?, to end: Duration?) -> Double {
    guard let start, let end else { return 0 }
    return seconds(end - start)
}

/// Never negative: time that ran backwards counts as none.
private func seconds(_ duration: Duration) -> Double { max(0, duration / .seconds(1)) }
