import ShoalCore

/// The time that one stage needs for a micro-batch, learned from the stage's own counters.
///
/// A micro-batch costs something by itself, something for each token, and something for each output: the last stage's
/// output matrix is as much as several layers, and prompts ask for one output only. The three are fitted to the mean of
/// each size bucket; single tokens, which kernels treat differently, have a time of their own.
struct StageCost: Sendable {
    private struct Point: Sendable {
        var tokenCount: Double
        var outputCount: Double
        var seconds: Double
        /// Falls while only other sizes are measured: machines get busy and quiet again.
        var weight: Double

        var terms: [Double] { [1, tokenCount, outputCount] }
    }

    /// Weight of the newest counters against all older ones of their size.
    private static let newestWeight = 0.5
    private static let fading = 0.9
    private static let weightMin = 0.02
    /// Share of a cost that is taken to be independent of size until another size was measured, and how little that
    /// counts once one was.
    private static let assumedFixedShare = 0.3
    private static let assumptionWeight = 0.001

    private var latest = ComputeCosts()
    private var points: [Point?] = []
    private var line: NonNegativeFit?
    private var single: Double?

    var isKnown: Bool { line != nil }

    /// Takes the stage's counters as they are now. Counters that went back are those of a new engine.
    mutating func learn(_ costs: ComputeCosts) {
        for index in points.indices {
            if let weight = points[index]?.weight { points[index]?.weight = max(Self.weightMin, weight * Self.fading) }
        }
        for (index, bucket) in costs.buckets.prefix(ComputeCosts.bucketCount).enumerated() {
            let before = latest.buckets.indices.contains(index) ? latest.buckets[index] : ComputeCosts.Bucket()
            let isNew = bucket.batchCount < before.batchCount || bucket.tokenCount < before.tokenCount
            let difference = isNew ? bucket : bucket.since(before)
            let count = Double(difference.batchCount)
            guard count > 0, difference.tokenCount > 0, difference.seconds > 0, difference.seconds.isFinite else {
                continue
            }
            learn(
                Point(
                    tokenCount: Double(difference.tokenCount) / count,
                    outputCount: Double(difference.outputCount) / count, seconds: difference.seconds / count,
                    weight: 1), at: index)
        }
        latest = costs
        fit()
    }

    private mutating func learn(_ point: Point, at index: Int) {
        while points.count <= index { points.append(nil) }
        guard let old = points[index] else {
            points[index] = point
            return
        }
        let share = Self.newestWeight
        points[index] = Point(
            tokenCount: old.tokenCount + (point.tokenCount - old.tokenCount) * share,
            outputCount: old.outputCount + (point.outputCount - old.outputCount) * share,
            seconds: old.seconds + (point.seconds - old.seconds) * share, weight: 1)
    }

    private mutating func fit() {
        single = points.first.flatMap { $0 }?.seconds
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
    }

    private static let singleTokenWeight = 0.05

    /// Seconds for one micro-batch, whose counts may be means; 0 while nothing is known.
    func seconds(tokenCount: Double, outputCount: Double) -> Double {
        guard let line else { return 0 }
        let fitted = line.value([1, tokenCount, outputCount])
        guard let single, tokenCount < 2 else { return fitted }
        // Between one token and two; noise must not make two look cheaper.
        let two = line.value([1, 2, 2 * outputCount / max(1, tokenCount)])
        let one = min(single, two)
        return one + (two - one) * max(0, tokenCount - 1)
    }
}
