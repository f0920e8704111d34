package import ShoalCore

/// Guesses of a draft model.
///
/// They come one by one while the answer's latest token travels, and are sent behind it as they come, a few at a time:
/// no token waits for a guess. Whether it pays is decided from the times of stages, links and draft model and from the
/// share of right guesses. Where it does not pay, the draft model rests, and is tried again now and then.
extension HeadScheduler {
    static let firstModelAcceptance = 0.7
    /// Of one guess, in the share of all answers.
    private static let newestWeight = 0.03
    /// Guesses ahead of the answer's latest known token.
    private static let guessCountMax = 32
    /// No more are asked for than those that are all right with this probability.
    private static let likelihoodMin = 0.15

    // MARK: Events

    /// The draft model is loaded and its cache empty: at first, and after it was lost.
    package mutating func draftReady(now: Duration) -> [HeadSchedulerAction] {
        drafting.becomeReady()
        return proceed(now: now)
    }

    /// There is no draft model any more until `draftReady`.
    package mutating func draftLost() { drafting.becomeAbsent() }

    /// The draft model answered a micro-batch.
    package mutating func draftOutputsArrived(
        batchNumber: UInt64, tokens: [SampledToken], now: Duration
    ) -> [HeadSchedulerAction] {
        do throws(ShoalError) {
            for guess in try drafting.outputsArrived(batchNumber, tokens, now: now) { take(guess, now: now) }
        } catch {
            drafting.becomeAbsent()
            return [.draftBroken(error)]
        }
        return proceed(now: now)
    }

    /// The draft model could not compute a micro-batch.
    package mutating func draftFailed(batchNumber: UInt64, error: ShoalError) -> [HeadSchedulerAction] {
        guard drafting.isReady else { return [] }
        drafting.batchFailed(batchNumber)
        return drafting.isReady ? [] : [.draftBroken(error)]
    }

    private mutating func take(_ guess: DraftScheduler.Guess, now: Duration) {
        guard let wish = wish(for: guess.sequence), drafting.isCurrent(guess, wish) else { return }
        var verdict: Bool?
        update(guess.sequence) { verdict = $0.take(guess.token.token, at: guess.position) }
        if let verdict { modelJudged(verdict, now: now) }
    }

    mutating func modelJudged(_ isRight: Bool, now: Duration) {
        DraftRun.learn(isRight, &modelAcceptance, weight: Self.newestWeight)
        probe.judged(now: now)
    }

    /// Tokens of one of its micro-batches, at most.
    package static let draftBatchTokenCountMax = DraftScheduler.batchTokenCountMax

    // MARK: What reports show

    /// What the draft model takes for one guess of one answer; nil while that is not known.
    package var draftSecondsPerToken: Double? { drafting.seconds(sequenceCount: 1) }

    /// Share of its guesses that were right lately.
    package var draftAcceptance: Double { modelAcceptance }

    // MARK: Asking

    /// The next micro-batch of the draft model, if anything is to be asked.
    mutating func draftDue(now: Duration) -> [HeadSchedulerAction] {
        guard drafting.isIdle else { return [] }
        let decodingCount = decodeTurns.count { !isPaused($0) }
        var wishes: [DraftScheduler.Wish] = []
        for sequence in decodeTurns where !isPaused(sequence) {
            guard let request = slots[Int(sequence.rawValue)].running,
                mayGuess(request, decodingCount: decodingCount, now: now),
                let wish = wish(for: sequence), expectsGuess(request)
            else { continue }
            wishes.append(wish)
        }
        return drafting.nextBatch(wishes, now: now).map { [.draft($0)] } ?? []
    }

    /// Whether the draft model will have a guess more for this answer, if it goes on.
    func expectsGuess(_ request: RunningRequest) -> Bool {
        guard drafting.isReady, request.isGuessedByModel, let acceptance = request.modelAcceptance else { return false }
        let count = request.guesses.count
        guard count < min(Self.guessCountMax, request.guessCountMax) else { return false }
        let likelihood = (0..<count).reduce(1.0) { product, _ in product * acceptance }
        return (count == 0 || likelihood >= Self.likelihoodMin)
            && !drafting.hasNothing(for: request.sequence, at: request.tokens.count + count)
    }

    private mutating func wish(for sequence: SequenceID) -> DraftScheduler.Wish? {
        guard let request = slots[Int(sequence.rawValue)].running else { return nil }
        drafting.assign(sequence, to: request.request.id)
        return DraftScheduler.Wish(sequence: sequence, tokens: request.tokens, guesses: request.guesses)
    }

    /// Whether guesses are expected to save time, or it is time to see whether they would.
    private mutating func mayGuess(_ request: RunningRequest, decodingCount: Int, now: Duration) -> Bool {
        guard request.isGuessedByModel else { return false }
        if modelDraftCount(for: request, decodingCount: decodingCount) > 0 {
            probe.succeeded()
            return true
        }
        return probe.isDue(now: now)
    }

    /// Guesses of the draft model that are sent together; 0 where they do not pay.
    mutating func modelDraftCount(for request: RunningRequest, decodingCount: Int) -> Int {
        guard let acceptance = request.modelAcceptance, drafting.isReady || !request.guesses.isEmpty else { return 0 }
        return pacing.streamedDraftCount(
            acceptance: acceptance, guessSeconds: drafting.seconds(sequenceCount: max(1, decodingCount)),
            costVersion: drafting.costVersion, decodingCount: decodingCount,
            mustGuess: request.speculation == .draft)
    }
}
