import ShoalCore

/// The time that one stage needs for a micro-batch, learned from what it needed.
///
/// A micro-batch costs something by itself, something for each token, and something for each output: the last stage's
/// output matrix is as much as several layers, and prompts ask for one output only. The three are fitted to the mean of
/// each size bucket. Few tokens, which kernels treat differently by their exact number, correct that.
struct StageCost: Sendable {
    private struct Point: Sendable {
        var tokenCount: Double
        var outputCount: Double
        var seconds: Double
        /// Falls while only other sizes are measured: machines get busy and quiet again.
        var weight: Double

        var terms: [Double] { [1, tokenCount, outputCount] }

        /// The same with what was measured since.
        func moved(towards newer: Point) -> Point {
            let share = StageCost.newestWeight
            return Point(
                tokenCount: tokenCount + (newer.tokenCount - tokenCount) * share,
                outputCount: outputCount + (newer.outputCount - outputCount) * share,
                seconds: seconds + (newer.seconds - seconds) * share, weight: 1)
        }
    }

    /// Weight of what was measured since the last time against all that was learned before of that size.
    private static let newestWeight = 0.5
    private static let fading = 0.9
    private static let weightMin = 0.02
    /// Share of a cost that is taken to be independent of size until another size was measured, and how little that
    /// counts once one was.
    private static let assumedFixedShare = 0.3
    private static let assumptionWeight = 0.001

    /// Measured, and not learned from yet.
    private var news = ComputeCosts()
    /// By bucket: micro-batches that were learned from.
    private var learnedCounts: [Int] = []
    private var points: [Point?] = []
    private var line: NonNegativeFit?
    /// By size - 1: what micro-batches of nothing but running answers took.
    private var answers: [Point?] = Array(repeating: nil, count: ComputeCosts.exactSizeCount)
    /// By size - 1: what they take, by the line where they were not measured.
    private var answerSeconds: [Double] = []

    var isKnown: Bool { line != nil }

    /// Counts one micro-batch, for the next time that `learn` is called.
    mutating func add(tokenCount: Int, outputCount: Int, seconds: Double) {
        news.add(tokenCount: tokenCount, outputCount: outputCount, seconds: seconds)
    }

    /// Whether as much was measured of some size as was learned from before: worth learning from at once.
    var hasNews: Bool {
        news.buckets.indices.contains { index in
            let count = news.buckets[index].batchCount
            return count > 0 && count >= (learnedCounts.indices.contains(index) ? learnedCounts[index] : 0)
        }
    }

    /// Takes what was measured since the last time.
    mutating func learn() {
        for (index, bucket) in news.buckets.enumerated() {
            while points.count <= index {
                points.append(nil)
                learnedCounts.append(0)
            }
            learnedCounts[index] += bucket.batchCount
            let count = Double(bucket.batchCount)
            guard count > 0, bucket.seconds > 0 else { continue }
            let point = Point(
                tokenCount: Double(bucket.tokenCount) / count, outputCount: Double(bucket.outputCount) / count,
                seconds: bucket.seconds / count, weight: 1)
            points[index] = points[index]?.moved(towards: point) ?? point
            if answers.indices.contains(index), point.outputCount >= point.tokenCount {
                answers[index] = answers[index]?.moved(towards: point) ?? point
            }
        }
        news = ComputeCosts()
        fit()
    }

    /// Time passed: what is not measured again is the less to be believed.
    mutating func fade() {
        for index in points.indices {
            if let weight = points[index]?.weight { points[index]?.weight = max(Self.weightMin, weight * Self.fading) }
        }
        for index in answers.indices { answers[index]?.weight *= Self.fading }
    }

    private mutating func fit() {
        let known = points.compactMap { $0 }
        // Single tokens say little about larger micro-batches once one of those was measured.
        let larger = known.filter { $0.tokenCount >= 2 }
        guard let first = larger.first ?? known.first else { return }
        var fit = NonNegativeFit()
        for point in larger.isEmpty ? known : larger { fit.add(point.terms, point.seconds, weight: point.weight) }
        if let single = known.first, !larger.isEmpty, single.tokenCount < 2 {
            fit.add(single.terms, single.seconds, weight: Self.singleTokenWeight)
        }
        fit.add([1, 0, 0], first.seconds * Self.assumedFixedShare, weight: Self.assumptionWeight, scale: first.seconds)
        fit.add([0, 0, 1], 0, weight: Self.assumptionWeight, scale: first.seconds)
        fit.solve()
        line = fit
        answerSeconds = correctedSeconds(fit)
    }

    private static let singleTokenWeight = 0.05

    /// Measured sizes as they were measured, the less the longer ago; between two of them in proportion; beyond the
    /// largest by the line, times what that one was against it. Noise must not make more tokens look cheaper.
    private func correctedSeconds(_ line: NonNegativeFit) -> [Double] {
        let promised = (1...answers.count).map { line.value([1, Double($0), Double($0)]) }
        let measured = zip(answers, promised).map { point, promised in
            point.map { promised + ($0.seconds - promised) * $0.weight }
        }
        var last = 0.0
        return promised.indices.map { index in
            last = max(last, seconds(at: index, measured, promised))
            return last
        }
    }

    private func seconds(at index: Int, _ measured: [Double?], _ promised: [Double]) -> Double {
        if let seconds = measured[index] { return seconds }
        let below = measured[..<index].lastIndex { $0 != nil }
        let above = measured[index...].firstIndex { $0 != nil }
        if let below, let above, let first = measured[below], let second = measured[above] {
            return first + (second - first) * Double(index - below) / Double(above - below)
        }
        // Single tokens say little about larger micro-batches.
        let nearest = above ?? below.flatMap { $0 > 0 ? $0 : nil }
        guard let nearest, let seconds = measured[nearest], promised[nearest] > 0 else { return promised[index] }
        return promised[index] * seconds / promised[nearest]
    }

    /// Whether so many answers at once take what kernels make of their exact number, and that was not measured.
    func isGuessed(answerCount: Int) -> Bool {
        answers.indices.contains(answerCount - 1) && answers[answerCount - 1] == nil
    }

    /// Seconds for one micro-batch, whose counts may be means; 0 while nothing is known.
    func seconds(tokenCount: Double, outputCount: Double) -> Double {
        guard let line else { return 0 }
        let fitted = line.value([1, tokenCount, outputCount])
        guard outputCount >= tokenCount, tokenCount >= 1 else { return fitted }
        let largest = Double(answerSeconds.count)
        guard tokenCount <= largest else { return max(fitted, answerSeconds.last ?? 0) }
        let (lower, upper) = (answerSeconds[Int(tokenCount) - 1], answerSeconds[Int(tokenCount.rounded(.up)) - 1])
        return lower + (upper - lower) * (tokenCount - tokenCount.rounded(.down))
    }
}
