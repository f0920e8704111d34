import ShoalCore

/// How much work is kept under way, and in what portions, from what stages and links were measured to take.
///
/// With T(k) the slowest stage's time for a micro-batch of k tokens, and R(k) the whole way of one: all stages' times
/// and the links. A stage that always has work needs R(k) / T(k) micro-batches under way; so slow links are filled like
/// additional stages. Decoding sequences are split into the groups that promise the most tokens per second,
/// N / max(groups x T, R): more groups hide links and other stages, larger groups compute their tokens cheaper. What a
/// grouping promised is corrected by what it gave.
struct PipelinePacing: Sendable {
    /// Decoding sequences as groups; each goes around the pipeline as one micro-batch.
    struct Groups: Hashable, Sendable {
        var count: Int
        var size: Int
    }

    private let stageCount: Int
    private let inFlightMax: Int
    private let promptChunkMax: Int
    private let promptSharePercentMax: Int

    private var stages: [StageCost]
    /// Seconds of a micro-batch's way that no stage computes, waiting in queues excluded by taking the least.
    private var delay = RecentMinimum(period: .seconds(5))
    private var learnedAt: Duration?
    private var groupsInUse: [Int: Groups] = [:]
    private var decided: [Int: Groups] = [:]
    private var draftCounts: [DraftKey: Int] = [:]
    /// Decisions about a draft model's guesses, until a stage's times change.
    var streamCounts: [StreamKey: Int] = [:]
    private var trials = GroupingTrials()

    /// Times of single micro-batches vary: a pipeline filled to the brim of the means runs dry. So R counts this many
    /// times.
    private static let variation = 1.05
    /// Between two times that stages' means are taken anew.
    private static let learningPeriod = Duration.seconds(1)
    /// Another grouping must promise this much more before it replaces the one in use.
    private static let changeGain = 1.03
    /// Prompt tokens of a micro-batch while nothing is measured, and the fewest while answers are running.
    private static let unmeasuredPromptChunk = 128
    private static let promptChunkMin = 8
    /// Fewer tokens at once make attention to a long context several times as expensive: ggml's processor kernel takes
    /// queries in tiles of 64. For prompts of several such portions.
    private static let longPromptChunkMin = 64
    private static let longPromptPortionCount = 4

    init(_ configuration: HeadSchedulerConfiguration) {
        stageCount = configuration.stageCount
        inFlightMax = configuration.microBatchesInFlightMax
        promptChunkMax = configuration.promptChunkTokenCountMax
        promptSharePercentMax = configuration.promptSharePercentMax
        stages = Array(repeating: StageCost(), count: stageCount)
    }

    // MARK: Measurements

    var isMeasured: Bool { stages.allSatisfy(\.isKnown) }

    /// A micro-batch of `tokenCount` entries came back after `duration`, of which the stages had it for `times`.
    mutating func microBatchReturned(
        tokenCount: Int, outputCount: Int, _ times: [StageTimes], _ duration: Duration, now: Duration
    ) {
        guard tokenCount > 0, times.count == stages.count else { return }
        for (index, times) in times.enumerated() {
            stages[index].add(tokenCount: tokenCount, outputCount: outputCount, seconds: times.secondsOfWork)
        }
        learn(now: now)
        let inEngines = times.reduce(0) { $0 + $1.secondsInEngine }
        delay.add(max(0, duration / .seconds(1) - inEngines), now: now)
    }

    /// At once of sizes of which little is known, else now and then.
    private mutating func learn(now: Duration) {
        let isPeriodOver = learnedAt.map { now - $0 >= Self.learningPeriod } ?? true
        guard isPeriodOver || stages.contains(where: \.hasNews) else { return }
        for index in stages.indices {
            if isPeriodOver { stages[index].fade() }
            stages[index].learn()
        }
        if isPeriodOver { learnedAt = now }
        decided = [:]
        draftCounts = [:]
        streamCounts = [:]
    }

    /// A micro-batch with the latest tokens of `tokenCount` out of `count` answers came back, without guesses, and
    /// there are no prompts: it tells what the groups in use give.
    mutating func groupArrived(tokenCount: Int, of count: Int, now: Duration) {
        guard isMeasured, let groups = groupsInUse[Self.key(count, 1)] else { return trials.interrupted() }
        let key = GroupingTrials.Key(sequenceCount: count, groupCount: groups.count)
        let promised = cycleSeconds(groups, of: count, 1)
        if trials.tokensArrived(tokenCount, key, promisedSeconds: promised, now: now) { decided = [:] }
    }

    /// Prompts, or guesses, are on their way beside answers.
    mutating func groupsInterrupted() { trials.interrupted() }

    /// T: seconds of the slowest stage for `tokenCount` tokens, all of which want outputs unless said otherwise.
    func bottleneckSeconds(tokenCount: Double, outputCount: Double? = nil) -> Double {
        stages.reduce(0) { max($0, $1.seconds(tokenCount: tokenCount, outputCount: outputCount ?? tokenCount)) }
    }

    /// R: seconds from the head through all stages and back.
    func roundTripSeconds(tokenCount: Double, outputCount: Double? = nil) -> Double {
        stages.reduce(delay.value ?? 0) {
            $0 + $1.seconds(tokenCount: tokenCount, outputCount: outputCount ?? tokenCount)
        }
    }

    // MARK: Decisions

    /// How `count` decoding sequences are split; each sends `tokensPerSequence` tokens at a time.
    mutating func groups(of count: Int, tokensPerSequence: Int = 1) -> Groups {
        guard count > 0 else { return Groups(count: 1, size: 1) }
        let key = Self.key(count, tokensPerSequence)
        if let groups = decided[key] { return groups }
        let groups = isMeasured ? fastestGroups(of: count, key, tokensPerSequence) : evenGroups(of: count, stageCount)
        decided[key] = groups
        groupsInUse[key] = groups
        return groups
    }

    private static func key(_ count: Int, _ tokensPerSequence: Int) -> Int { count &* 4096 &+ tokensPerSequence }

    private mutating func fastestGroups(of count: Int, _ key: Int, _ tokensPerSequence: Int) -> Groups {
        var best = groupsInUse[key]
        var bestSeconds =
            best.map { expectedSeconds($0, of: count, tokensPerSequence) / Self.changeGain } ?? .infinity
        for groups in (1...min(count, inFlightMax)).map({ evenGroups(of: count, $0) }) {
            let seconds = expectedSeconds(groups, of: count, tokensPerSequence)
            guard seconds < bestSeconds * 0.999 else { continue }
            best = groups
            bestSeconds = seconds
        }
        return best ?? evenGroups(of: count, stageCount)
    }

    private func evenGroups(of count: Int, _ groupCountMax: Int) -> Groups {
        let groupCount = min(count, groupCountMax, inFlightMax)
        let size = (count + groupCount - 1) / groupCount
        return Groups(count: (count + size - 1) / size, size: size)
    }

    /// Seconds in which every one of `count` sequences gets its turn once.
    func cycleSeconds(_ groups: Groups, of count: Int, _ tokensPerSequence: Int) -> Double {
        let tokenCount = Double(count * tokensPerSequence) / Double(groups.count)
        return max(
            computeSeconds(groups, of: count, tokensPerSequence),
            roundTripSeconds(tokenCount: tokenCount) * Self.variation)
    }

    /// The same, as far as it was tried.
    private func expectedSeconds(_ groups: Groups, of count: Int, _ tokensPerSequence: Int) -> Double {
        let seconds = cycleSeconds(groups, of: count, tokensPerSequence)
        guard tokensPerSequence == 1 else { return seconds }
        let key = GroupingTrials.Key(sequenceCount: count, groupCount: groups.count)
        let isGuessed = stages.contains { $0.isGuessed(answerCount: groups.size) }
        return seconds * trials.factor(key, isGuessed: isGuessed)
    }

    /// The slowest stage's part of it.
    private func computeSeconds(_ groups: Groups, of count: Int, _ tokensPerSequence: Int) -> Double {
        let tokenCount = Double(count * tokensPerSequence) / Double(groups.count)
        return Double(groups.count) * bottleneckSeconds(tokenCount: tokenCount)
    }

    /// Micro-batches of `tokenCount` tokens under way that leave the slowest stage no pause. Without running answers,
    /// whom it would delay, one more waits before that stage.
    func depth(tokenCount: Int, outputCount: Int, hasAnswers: Bool) -> Int {
        guard isMeasured, tokenCount > 0 else { return min(stageCount, inFlightMax) }
        let (tokens, outputs) = (Double(tokenCount), Double(outputCount))
        let slowest = bottleneckSeconds(tokenCount: tokens, outputCount: outputs)
        guard slowest > 0 else { return min(stageCount, inFlightMax) }
        let ratio = min(
            Double(inFlightMax), roundTripSeconds(tokenCount: tokens, outputCount: outputs) / slowest)
        let count = hasAnswers ? Int(ratio.rounded()) : Int((ratio * Self.variation).rounded(.up)) + 1
        return max(1, min(count, inFlightMax))
    }

    // MARK: Guesses

    /// Guesses to send behind an answer's latest token, of `decodingCount` answers, when this share of guesses is
    /// right; 0 where none promises more tokens per second, unless it `mustGuess`.
    mutating func draftCount(acceptance: Double, decodingCount: Int, mustGuess: Bool) -> Int {
        guard isMeasured else { return Self.unmeasuredDraftCount }
        // Coarse, so that it need not be computed for every token.
        let share = (min(acceptance, 0.99) * 20).rounded() / 20
        let key = DraftKey(share: Int(share * 20), decodingCount: decodingCount, mustGuess: mustGuess)
        if let count = draftCounts[key] { return count }
        let without = tokensPerSecond(draftCount: 0, acceptance: share, decodingCount: decodingCount)
        var best = (count: 0, rate: mustGuess ? 0 : without * Self.changeGain)
        for count in Self.draftCandidates {
            let rate = tokensPerSecond(draftCount: count, acceptance: share, decodingCount: decodingCount)
            if rate > best.rate { best = (count, rate) }
        }
        draftCounts[key] = best.count
        return best.count
    }

    private struct DraftKey: Hashable {
        var share: Int
        var decodingCount: Int
        var mustGuess: Bool
    }

    private static let draftCandidates = [1, 2, 3, 4, 6, 8, 12, 16]
    private static let unmeasuredDraftCount = 3

    /// Of all answers together.
    private mutating func tokensPerSecond(draftCount: Int, acceptance: Double, decodingCount: Int) -> Double {
        let width = draftCount + 1
        // Right guesses until the first wrong one, and the token that is sampled there.
        let gained = acceptance < 1 ? (1 - power(acceptance, width)) / (1 - acceptance) : Double(width)
        let groups = groups(of: decodingCount, tokensPerSequence: width)
        let cycle = cycleSeconds(groups, of: decodingCount, width)
        guard cycle > 0 else { return 0 }
        let waiting = Double(decodingCount) * gained / cycle
        let tokenCount = Double(decodingCount * width) / Double(groups.count)
        let slowest = bottleneckSeconds(tokenCount: tokenCount)
        guard draftCount > 0, cycle > 1.5 * Double(groups.count) * slowest else { return waiting }
        // The pipeline has room for windows behind windows: a run of right guesses waits for one round trip only.
        let run = min(1 / max(0.01, 1 - acceptance), Double(Self.runTokenCountMax))
        let seconds = cycle + max(0, run / Double(width) - 1) * slowest * Double(groups.count)
        return max(waiting, Double(decodingCount) * run / seconds)
    }

    private static let runTokenCountMax = 64

    private func power(_ base: Double, _ exponent: Int) -> Double {
        (0..<exponent).reduce(1) { product, _ in product * base }
    }

    // MARK: Prompts

    /// Prompt tokens for the next micro-batch, which also holds `decodeTokenCount` tokens of running answers.
    ///
    /// Alone, the portion that gets `promptTokenCount` tokens through the pipeline soonest: large ones compute cheaper,
    /// small ones fill the stages sooner. Beside running answers, prompts get at most their share of the time.
    func promptChunk(promptTokenCount: Int, decodeTokenCount: Int) -> Int {
        guard isMeasured else { return min(promptChunkMax, Self.unmeasuredPromptChunk) }
        guard decodeTokenCount == 0 else { return chunk(beside: decodeTokenCount) }
        var best = promptChunkMax
        var bestSeconds = Double.infinity
        var size = promptChunkMax
        let isLong = promptTokenCount >= Self.longPromptPortionCount * Self.longPromptChunkMin
        while size >= min(isLong ? Self.longPromptChunkMin : Self.promptChunkMin, promptChunkMax) {
            let portions = (Double(promptTokenCount) / Double(size)).rounded(.up)
            let filled = min(Double(promptTokenCount), Double(size))
            let seconds =
                roundTripSeconds(tokenCount: filled, outputCount: 0)
                + (portions - 1) * bottleneckSeconds(tokenCount: filled, outputCount: 0)
            if seconds < bestSeconds {
                best = size
                bestSeconds = seconds
            }
            size /= 2
        }
        return best
    }

    /// The largest that leaves the answers their share of the slowest stage.
    private func chunk(beside decodeTokenCount: Int) -> Int {
        let own = bottleneckSeconds(tokenCount: Double(decodeTokenCount))
        let limit = own * 100 / Double(100 - promptSharePercentMax)
        var (low, high) = (min(Self.promptChunkMin, promptChunkMax), promptChunkMax)
        while low < high {
            let middle = (low + high + 1) / 2
            let total = Double(decodeTokenCount + middle)
            if bottleneckSeconds(tokenCount: total, outputCount: Double(decodeTokenCount)) <= limit {
                low = middle
            } else {
                high = middle - 1
            }
        }
        return low
    }
}
