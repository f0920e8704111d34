import ShoalCore

/// The time that one stage needs for a micro-batch of a given size, learned from the stage's own counters.
///
/// A curve through one point per size bucket. Where nothing was measured, a part of the nearest cost is taken as fixed
/// and the rest as proportional to the tokens; trying the size then corrects it.
struct StageCost: Sendable {
    private struct Point: Sendable {
        var tokenCount: Double
        var seconds: Double
    }

    /// Share of a cost that is taken to be independent of size until another size was measured.
    private static let assumedFixedShare = 0.3
    /// Weight of the newest counters against all older ones; machines get busy and quiet again.
    private static let newestWeight = 0.5

    private var latest = ComputeCosts()
    private var points: [Point?] = []
    /// `points` in order of size, never falling: noise must not make a larger micro-batch look cheaper.
    private var curve: [Point] = []

    var isKnown: Bool { !curve.isEmpty }

    /// Takes the stage's counters as they are now. Counters that went back are those of a new engine.
    mutating func learn(_ costs: ComputeCosts) {
        for (index, bucket) in costs.buckets.prefix(ComputeCosts.bucketCount).enumerated() {
            let before = latest.buckets.indices.contains(index) ? latest.buckets[index] : ComputeCosts.Bucket()
            let isNew = bucket.batchCount < before.batchCount || bucket.tokenCount < before.tokenCount
            let batchCount = bucket.batchCount - (isNew ? 0 : before.batchCount)
            let tokenCount = bucket.tokenCount - (isNew ? 0 : before.tokenCount)
            let seconds = bucket.seconds - (isNew ? 0 : before.seconds)
            guard batchCount > 0, tokenCount > 0, seconds > 0, seconds.isFinite else { continue }
            learn(
                Point(tokenCount: Double(tokenCount) / Double(batchCount), seconds: seconds / Double(batchCount)),
                at: index)
        }
        latest = costs
        redraw()
    }

    private mutating func learn(_ point: Point, at index: Int) {
        while points.count <= index { points.append(nil) }
        guard let old = points[index] else {
            points[index] = point
            return
        }
        let weight = Self.newestWeight
        points[index] = Point(
            tokenCount: old.tokenCount + (point.tokenCount - old.tokenCount) * weight,
            seconds: old.seconds + (point.seconds - old.seconds) * weight)
    }

    private mutating func redraw() {
        curve = []
        for point in points.compactMap({ $0 }) {
            let floor = curve.last?.seconds ?? 0
            curve.append(Point(tokenCount: point.tokenCount, seconds: max(floor, point.seconds)))
        }
    }

    /// Seconds for one micro-batch of `tokenCount` tokens, which may be a mean; 0 while nothing is known.
    func seconds(tokenCount: Double) -> Double {
        guard let first = curve.first, let last = curve.last else { return 0 }
        if tokenCount <= first.tokenCount { return extrapolated(from: first, to: tokenCount) }
        if tokenCount >= last.tokenCount { return beyond(last, tokenCount) }
        let upper = curve.firstIndex { $0.tokenCount > tokenCount } ?? curve.count - 1
        let (left, right) = (curve[upper - 1], curve[upper])
        let share = (tokenCount - left.tokenCount) / (right.tokenCount - left.tokenCount)
        return left.seconds + (right.seconds - left.seconds) * share
    }

    private func extrapolated(from point: Point, to tokenCount: Double) -> Double {
        let fixed = Self.assumedFixedShare
        return point.seconds * (fixed + (1 - fixed) * tokenCount / point.tokenCount)
    }

    private func beyond(_ last: Point, _ tokenCount: Double) -> Double {
        guard curve.count > 1 else { return extrapolated(from: last, to: tokenCount) }
        let before = curve[curve.count - 2]
        let slope = (last.seconds - before.seconds) / (last.tokenCount - before.tokenCount)
        return last.seconds + slope * (tokenCount - last.tokenCount)
    }
}
