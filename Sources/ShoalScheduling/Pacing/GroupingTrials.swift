/// How much longer a cycle took with each grouping of decoding sequences than stages and links promised.
///
/// A promise knows means. What it leaves out, times that vary, processors that stages share with their nodes, sizes
/// that were not measured, shows when a grouping is in use: so the one that promises most is tried, measured over some
/// cycles, and kept only while no other promises more than it was seen to give.
struct GroupingTrials: Sendable {
    struct Key: Hashable, Sendable {
        var sequenceCount: Int
        var groupCount: Int
    }

    private struct Trial: Sendable {
        let key: Key
        /// Tokens that came back; below 0 they are still those of the grouping before.
        var tokenCount: Int
        var startedAt: Duration?
    }

    /// Cycles that are measured together.
    private static let cycleCount = 12
    /// Weight of the newest measurement against the older ones.
    private static let newestWeight = 0.5
    /// Of a grouping that was not tried: promises must not keep a good one out, and to try costs little.
    private static let untriedFactor = 0.93
    /// The same where even the promise is a guess: one micro-batch of that size tells what it takes.
    private static let guessedFactor = 0.8
    /// What was seen of the others fades at this rate with each measurement, so that they are tried again: machines get
    /// busy and quiet, contexts longer.
    private static let fading = 0.98
    /// One measurement cannot tell more than this: the machine may have slept.
    private static let factorRange = 0.8...2.0
    private static let keyCountMax = 512

    private var factors: [Key: Double] = [:]
    private var trial: Trial?

    /// Seconds of a cycle against the promised ones, which were a guess or follow from measurements.
    func factor(_ key: Key, isGuessed: Bool = false) -> Double {
        factors[key] ?? (isGuessed ? Self.guessedFactor : Self.untriedFactor)
    }

    /// A micro-batch of `tokenCount` sequences of a grouping came back, and nothing else is under way. True when that
    /// changed a factor.
    mutating func tokensArrived(_ tokenCount: Int, _ key: Key, promisedSeconds: Double, now: Duration) -> Bool {
        guard promisedSeconds > 0 else { return false }
        let same = trial.flatMap { $0.key == key ? $0 : nil }
        var current = same ?? Trial(key: key, tokenCount: -key.sequenceCount)
        current.tokenCount += tokenCount
        defer { trial = current }
        guard current.tokenCount >= 0 else { return false }
        guard let start = current.startedAt else {
            current.tokenCount = 0
            current.startedAt = now
            return false
        }
        guard current.tokenCount >= Self.cycleCount * key.sequenceCount, now > start else { return false }
        let cycleCount = Double(current.tokenCount) / Double(key.sequenceCount)
        learn((now - start) / .seconds(1) / cycleCount / promisedSeconds, key)
        current.tokenCount = 0
        current.startedAt = now
        return true
    }

    /// Something else than such micro-batches takes its time.
    mutating func interrupted() { trial = nil }

    private mutating func learn(_ factor: Double, _ key: Key) {
        let range = Self.factorRange
        let bounded = min(max(factor, range.lowerBound), range.upperBound)
        for (other, value) in factors where other.sequenceCount == key.sequenceCount && other != key {
            factors[other] = Self.untriedFactor + (value - Self.untriedFactor) * Self.fading
        }
        let old = factors[key]
        if old == nil, factors.count >= Self.keyCountMax { factors = [:] }
        factors[key] = old.map { $0 + (bounded - $0) * Self.newestWeight } ?? bounded
    }
}
