import ShoalCore

/// A request that owns a sequence, and how far it is.
struct RunningRequest: Sendable {
    let request: TokenizedRequest
    let sequence: SequenceID
    /// What the request asked for, or what is left of the context.
    let outputTokenCountMax: Int
    let submittedAt: Duration
    let admittedAt: Duration
    /// Counts up with every admission of this head.
    let admissionNumber: UInt64

    /// The prompt, and the answer so far. The token that ends an answer does not belong to it.
    private(set) var tokens: [TokenID]
    /// Those of `tokens`, from the first, that have to be in the cells before anything is sampled: the prompt, and in a
    /// rebuilt pipeline the answer so far.
    private var prefillTokenCount: Int
    /// Those of `tokens` and the guesses behind them, from the first, that are in the cells or on their way there.
    private(set) var sentCount = 0
    /// Guesses; nil where the request speculates on nothing.
    private var drafts: DraftRun?
    let speculation: SpeculationMode
    /// Guesses that were sent and judged, and those of them that were right.
    private(set) var draftedTokenCount = 0
    private(set) var acceptedTokenCount = 0
    /// Those of the draft model among them.
    private(set) var modelDraftedTokenCount = 0
    private(set) var modelAcceptedTokenCount = 0
    /// What the latest token said of the draft model's guess for it; nil if there was none.
    private(set) var modelVerdict: Bool?
    /// Counts the guesses that were sent and wrong: outputs of what was sent before do not come.
    private(set) var cutCount = 0
    /// Whether it was decided where the prompt starts, and something of it sent.
    private(set) var isStarted = false
    /// Prompt tokens that were in the cells already.
    private(set) var reusedTokenCount = 0
    /// Pipelines that were lost under the request since its answer last grew well.
    private var lossCount = 0
    private var tokenCountAtLoss = 0

    var text: TextAssembler
    /// Those of `tokens`, from the first, of which a text event has told, or which need none: the prompt.
    private var toldTokenCount: Int
    /// Tokens told but not consumed.
    var unacknowledgedTokenCount = 0
    private var prefillStartedAt: Duration?
    private var firstTokenAt: Duration?
    private var lastTokenAt: Duration?

    init(
        _ queued: QueuedRequest, sequence: SequenceID, outputTokenCountMax: Int, admissionNumber: UInt64,
        speculation: SpeculationMode, modelAcceptance: Double, now: Duration
    ) {
        request = queued.request
        self.speculation = speculation
        drafts = speculation == .off ? nil : DraftRun(modelAcceptance: modelAcceptance)
        self.sequence = sequence
        self.outputTokenCountMax = outputTokenCountMax
        self.admissionNumber = admissionNumber
        submittedAt = queued.submittedAt
        admittedAt = now
        tokens = queued.request.promptTokens + queued.request.answerSoFar.map(\.token)
        prefillTokenCount = tokens.count
        toldTokenCount = tokens.count
        tokenCountAtLoss = queued.request.answerSoFar.count
        text = TextAssembler(stopSequences: queued.request.stopSequences)
        // The reader has their text.
        for answered in queued.request.answerSoFar { _ = text.append(answered.piece) }
    }

    /// KV cells that nobody else may count on.
    var reservedCellCount: Int { request.promptTokens.count + outputTokenCountMax }

    var promptRemainingCount: Int { prefillTokenCount - sentCount }

    var isPrefilling: Bool { promptRemainingCount > 0 }

    var outputTokenCount: Int { tokens.count - request.promptTokens.count }

    /// What the last stage's sampler has to know before its first choice.
    var samplerHistory: SamplerHistory {
        SamplerHistory(
            prompt: request.sampling.looksBack
                ? request.promptTokens.suffix(Int(request.sampling.penaltyTokenCount)) : [],
            output: Array(tokens.dropFirst(request.promptTokens.count)))
    }

    func isPaused(beyond unacknowledgedTokenCountMax: Int) -> Bool {
        unacknowledgedTokenCount >= unacknowledgedTokenCountMax
    }

    /// The first `tokenCount` tokens are in the cells when what is sent next arrives.
    mutating func start(reusing tokenCount: Int, now: Duration) {
        assert(!isStarted && tokenCount < prefillTokenCount)
        isStarted = true
        sentCount = tokenCount
        guard prefillStartedAt == nil else { return }
        prefillStartedAt = now
        reusedTokenCount = min(tokenCount, request.promptTokens.count)
    }

    /// Prompt tokens from the first unsent one, the last of the prompt wanting an output.
    mutating func takePromptChunk(tokenCountMax: Int) -> [BatchEntry] {
        assert(isStarted)
        let end = min(prefillTokenCount, sentCount + tokenCountMax)
        let entries = (sentCount..<end).map { position in
            BatchEntry(
                sequence: sequence, position: Int32(position), token: tokens[position],
                wantsOutput: position == prefillTokenCount - 1)
        }
        sentCount = end
        return entries
    }

    /// Whether the last sampled token waits to be sent.
    var isDecodeDue: Bool { !isPrefilling && sentCount == tokens.count - 1 }

    /// Share of the latest guesses that were right; nil when there is no guess.
    var acceptance: Double? { drafts.flatMap { $0.tokens.isEmpty ? nil : $0.acceptance } }

    /// Of the draft model's guesses; nil where it is not to guess.
    var modelAcceptance: Double? { mayUseModel ? drafts?.modelAcceptance : nil }

    /// Whether the guesses are the draft model's, or would be if it had any.
    var isGuessedByModel: Bool { mayUseModel && drafts?.origin == .model }

    private var mayUseModel: Bool { speculation == .auto || speculation == .draft }

    /// Tokens guessed behind the answer, sent or not.
    var guesses: [TokenID] { drafts?.tokens ?? [] }

    /// Guesses that could be sent.
    var unsentGuessCount: Int { guesses.count - unverifiedCount }

    /// The most guesses of which the first ones could still matter: the last token of the longest answer is never
    /// computed.
    var guessCountMax: Int { max(0, request.promptTokens.count + outputTokenCountMax - 1 - tokens.count) }

    /// Guesses under way.
    var unverifiedCount: Int { max(0, sentCount - tokens.count) }

    /// The last sampled token with up to `draftCountMax` guesses behind it, or, when it is under way, that many guesses
    /// more; empty when there are none. Each entry's output tells whether the next one's token is right.
    mutating func takeWindow(draftCountMax: Int) -> [BatchEntry] {
        guard !isPrefilling, sentCount >= tokens.count - 1 else { return [] }
        let start = sentCount
        // The last token of the longest answer is never computed itself.
        let room = request.promptTokens.count + outputTokenCountMax - 1
        let end = max(tokens.count, min(room, max(sentCount, tokens.count) + draftCountMax))
        drafts?.extend(to: end - tokens.count, after: tokens)
        let guesses = guesses
        sentCount = max(sentCount, min(end, tokens.count + guesses.count))
        return (start..<sentCount).map { position in
            BatchEntry(
                sequence: sequence, position: Int32(position),
                token: position < tokens.count ? tokens[position] : guesses[position - tokens.count], wantsOutput: true)
        }
    }

    /// The stages forgot everything: what they held is sent again, the answer so far included. False when too many
    /// pipelines were lost under this request without its answer growing, which may be its own doing.
    mutating func rewind(lossCountMax: Int, progressTokenCount: Int) -> Bool {
        if outputTokenCount - tokenCountAtLoss >= progressTokenCount { lossCount = 0 }
        tokenCountAtLoss = outputTokenCount
        lossCount += 1
        prefillTokenCount = tokens.count
        sentCount = 0
        isStarted = false
        drafts?.forget()
        return lossCount <= lossCountMax
    }

    func usage() -> GenerationUsage {
        GenerationUsage(
            promptTokenCount: request.promptTokens.count, outputTokenCount: outputTokenCount,
            reusedTokenCount: reusedTokenCount, queueSeconds: seconds(admittedAt - submittedAt),
            prefillSeconds: seconds(from: prefillStartedAt, to: firstTokenAt),
            decodeSeconds: seconds(from: firstTokenAt, to: lastTokenAt))
    }
}

// MARK: - The answer

extension RunningRequest {
    /// What a sampled token adds to the answer, and whether it ends it. `hasDraftModel`: one is worth asking.
    mutating func accept(
        _ token: SampledToken, hasDraftModel: Bool, now: Duration
    ) -> (event: GenerationEvent?, reason: FinishReason?) {
        assert(sentCount >= tokens.count)
        modelVerdict = nil
        let wasGuessed = drafts.map { !$0.tokens.isEmpty } ?? false
        if firstTokenAt == nil { firstTokenAt = now }
        guard !token.isEndOfGeneration else { return (tell(text.finish().text), .stop) }
        lastTokenAt = now
        let isOfModel = drafts?.origin == .model
        let isRight = drafts?.judge(token.token) ?? true
        if wasGuessed, isOfModel { modelVerdict = isRight }
        if wasGuessed, sentCount > tokens.count { count(isRight, isOfModel: isOfModel) }
        if !isRight, sentCount > tokens.count {
            // What was sent behind the answer is wrong, and so is everything behind that.
            sentCount = tokens.count
            cutCount += 1
        }
        tokens.append(token.token)
        drafts?.begin(after: tokens, isUntold: sentCount <= tokens.count, hasModel: hasDraftModel)
        let output = text.append(token.piece)
        if output.isStopped { return (tell(output.text), .stop) }
        guard outputTokenCount < outputTokenCountMax else {
            let rest = text.finish()
            return (tell(output.text + rest.text), rest.isStopped ? .stop : .length)
        }
        return (tell(output.text), nil)
    }

    private mutating func count(_ isRight: Bool, isOfModel: Bool) {
        draftedTokenCount += 1
        if isRight { acceptedTokenCount += 1 }
        guard isOfModel else { return }
        modelDraftedTokenCount += 1
        if isRight { modelAcceptedTokenCount += 1 }
    }

    /// What the draft model says of the token behind the first `position` ones. Returns whether it was right where that
    /// is known already.
    mutating func take(_ guess: TokenID, at position: Int) -> Bool? {
        guard position >= tokens.count else {
            let isRight = tokens[position] == guess
            drafts?.judgeLate(isRight)
            return isRight
        }
        if isGuessedByModel, position == tokens.count + guesses.count { drafts?.append(guess) }
        return nil
    }

    private mutating func tell(_ text: String) -> GenerationEvent? {
        guard !text.isEmpty else { return nil }
        let untold = Array(tokens[toldTokenCount...])
        toldTokenCount = tokens.count
        unacknowledgedTokenCount += untold.count
        return .text(text, tokens: untold)
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
