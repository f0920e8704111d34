/// Whether a draft model saves time.
extension PipelinePacing {
    /// What a decision depends on, besides the times of the stages.
    struct StreamKey: Hashable {
        var share: Int
        var costVersion: Int
        var decodingCount: Int
        var mustGuess: Bool
    }

    private static let streamCandidates = [1, 2, 3, 4, 6, 8]
    private static let unmeasuredStreamCount = 3
    /// Guesses must promise this much more: they load a node for what is only an estimate.
    private static let streamGain = 1.05
    /// What is right less often is not worth a node's work, whatever it promises.
    private static let acceptanceMin = 0.25
    private static let decisionCountMax = 256

    /// Guesses of a draft model that are sent together, behind the latest token and behind each other, when this share
    /// of them is right and all answers' next guesses take `guessSeconds`; 0 where no number promises more tokens per
    /// second than none, unless it `mustGuess`.
    mutating func streamedDraftCount(
        acceptance: Double, guessSeconds: Double?, costVersion: Int, decodingCount: Int, mustGuess: Bool
    ) -> Int {
        guard isMeasured, let guessSeconds else { return Self.unmeasuredStreamCount }
        guard acceptance >= Self.acceptanceMin || mustGuess else { return 0 }
        let share = (min(acceptance, 0.99) * 50).rounded() / 50
        let key = StreamKey(
            share: Int(share * 50), costVersion: costVersion, decodingCount: decodingCount, mustGuess: mustGuess)
        if let count = streamCounts[key] { return count }
        let groups = groups(of: decodingCount)
        let without = Double(decodingCount) / max(1e-9, cycleSeconds(groups, of: decodingCount, 1))
        var best = (count: 0, rate: mustGuess ? 0 : without * Self.streamGain)
        for count in Self.streamCandidates {
            let rate = streamedTokensPerSecond(
                count: count, share: min(share, 0.99), guessSeconds: guessSeconds, decodingCount: decodingCount)
            if rate > best.rate { best = (count, rate) }
        }
        if streamCounts.count >= Self.decisionCountMax { streamCounts = [:] }
        streamCounts[key] = best.count
        return best.count
    }

    /// Of all answers together.
    ///
    /// One cycle is a run of right guesses and the token behind it. The first token goes alone; windows of `count`
    /// guesses follow as fast as the draft model and the slowest stage allow. The verdict on a guess comes with the
    /// output of the token before it.
    private func streamedTokensPerSecond(
        count: Int, share: Double, guessSeconds: Double, decodingCount: Int
    ) -> Double {
        let answers = Double(decodingCount)
        let (alone, window) = (1.0, Double(count))
        let interval = max(window * guessSeconds, answers * bottleneckSeconds(tokenCount: window))
        // A run ends behind i tokens with probability share^(i-1) (1-share).
        let tokenCount = 1 / (1 - share)
        let power = (0..<count).reduce(1.0) { product, _ in product * share }
        let windowCount = share / (1 - power)
        let roundTrip = roundTripSeconds(tokenCount: window)
        let seconds =
            (1 - share) * roundTripSeconds(tokenCount: alone)
            + share * (window * guessSeconds + roundTrip) + max(0, windowCount - share) * interval
        // Windows behind a wrong guess that are sent before that is known are computed for nothing.
        let wasted = max(0, min(roundTrip / interval, runCount(share) / window) - 1)
        let computed =
            answers
            * (bottleneckSeconds(tokenCount: alone) + (windowCount + wasted) * bottleneckSeconds(tokenCount: window))
        return answers * tokenCount / max(1e-9, seconds, computed)
    }

    /// Guesses that are sent without a verdict, about.
    private func runCount(_ share: Double) -> Double { min(32, 2 / (1 - share)) }
}
