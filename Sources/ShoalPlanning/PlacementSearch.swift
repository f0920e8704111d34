import ShoalCore

/// Finds the best placements over a set of candidate nodes.
///
/// Depth first over ordered sets of nodes; for each the best cuts by dynamic programming over the layers placed so far,
/// shared among sets with the same beginning. What cannot beat the placements that are kept is left out, so the result
/// is exact as long as `stepCountMax` is not reached.
final class PlacementSearch {
    struct Found: Sendable {
        var pieces: [Piece]
        var score: Double
    }

    /// The best placement of each set of nodes that was found, at most `keptCount`, best first.
    private(set) var found: [Found] = []
    /// Whether the search ended before it had seen everything.
    private(set) var isCutShort = false

    private let costs: PlanCosts
    private let candidates: [Int]
    private let stageCountMax: Int
    private let keptCount: Int
    /// Cuts are looked for before every so manyth layer only.
    private let cutStep: Int
    private var stepsLeft: Int
    private var keys: Set<[Int]> = []

    /// One way to have placed the layers before some layer: nothing else matters for what follows.
    private struct Entry {
        var total: Double
        var bottleneck: Double
        /// The piece that ends here.
        var first: Int
        /// Its predecessor among the entries of the level before that end at `first`.
        var parent: Int
    }

    /// Entries by the layer that they end before.
    private struct Level {
        var node: Int
        var entries: [[Entry]]
    }

    init(
        _ costs: PlanCosts, candidates: [Int], stageCountMax: Int, keptCount: Int, stepCountMax: Int, cutStep: Int = 1
    ) {
        self.costs = costs
        self.candidates = candidates
        self.stageCountMax = stageCountMax
        self.keptCount = keptCount
        self.cutStep = cutStep
        stepsLeft = stepCountMax
    }

    func run() {
        let firsts = candidates.map(leastFirsts)
        for grouping in costs.groupings.indices {
            let least = (0...costs.layerCount).map { layer in
                layer == costs.layerCount ? 0 : costs.leastSecondsFrom(layer, grouping, among: candidates)
            }
            var levels: [Level] = []
            descend(&levels, grouping, least, firsts)
        }
    }

    /// Adds a placement that was found elsewhere. Worse ones of the same nodes are replaced.
    func keep(_ pieces: [Piece]) { record(pieces, costs.score(pieces)) }

    /// For each end the first layer of the longest piece that the node can hold; `end` if none.
    private func leastFirsts(_ node: Int) -> [Int] {
        (0...costs.layerCount).map { end in
            var (low, high) = (0, end)
            while low < high {
                let middle = (low + high) / 2
                if costs.fits(Piece(node: node, first: middle, end: end)) { high = middle } else { low = middle + 1 }
            }
            return low
        }
    }

    private var threshold: Double { found.count < keptCount ? .infinity : found.last?.score ?? .infinity }

    private func descend(_ levels: inout [Level], _ grouping: Int, _ least: [Double], _ firsts: [[Int]]) {
        for (place, node) in candidates.enumerated() where !levels.contains(where: { $0.node == node }) {
            guard stepsLeft > 0 else {
                isCutShort = true
                return
            }
            guard let level = extended(levels, with: node, grouping, least, firsts[place]) else { continue }
            levels.append(level)
            complete(levels, grouping)
            if levels.count < stageCountMax { descend(&levels, grouping, least, firsts) }
            levels.removeLast()
        }
    }

    /// The level after `node` got the next layers; nil if nothing useful came out.
    private func extended(
        _ levels: [Level], with node: Int, _ grouping: Int, _ least: [Double], _ firsts: [Int]
    ) -> Level? {
        let before = levels.last
        let hop = before.map { costs.hopSeconds(from: $0.node, to: node, grouping) } ?? 0
        let transfer = before.map { costs.transferSeconds(from: $0.node, to: node, grouping) } ?? 0
        let threshold = threshold
        var entries = [[Entry]](repeating: [], count: costs.layerCount + 1)
        var isUseful = false
        for end in 1...costs.layerCount where end % cutStep == 0 || end == costs.layerCount {
            var front: [Entry] = []
            for first in firsts[end]..<max(firsts[end], before == nil ? min(1, end) : end) {
                guard first % cutStep == 0, costs.isLegal(first, end) else { continue }
                let seconds = costs.seconds(Piece(node: node, first: first, end: end), grouping)
                let parents = before.map { $0.entries[first] } ?? (first == 0 ? [PlacementSearch.start] : [])
                for (parent, entry) in parents.enumerated() {
                    stepsLeft -= 1
                    let candidate = Entry(
                        total: entry.total + hop + seconds, bottleneck: max(entry.bottleneck, transfer, seconds),
                        first: first, parent: parent)
                    let bound = costs.score(
                        total: candidate.total + least[end], bottleneck: candidate.bottleneck, grouping)
                    if bound < threshold { insert(candidate, into: &front, grouping) }
                }
            }
            if !front.isEmpty { isUseful = true }
            entries[end] = front
        }
        return isUseful ? Level(node: node, entries: entries) : nil
    }

    private static let start = Entry(total: 0, bottleneck: 0, first: 0, parent: 0)

    /// Keeps those that no other one beats in both numbers.
    private func insert(_ entry: Entry, into front: inout [Entry], _ grouping: Int) {
        if costs.groupings[grouping].groupCount == 1 {
            // The bottleneck is never more than the total: only the total counts.
            guard let old = front.first else { return front.append(entry) }
            if entry.total < old.total { front[0] = entry }
            return
        }
        for old in front where old.total <= entry.total && old.bottleneck <= entry.bottleneck { return }
        front.removeAll { entry.total <= $0.total && entry.bottleneck <= $0.bottleneck }
        front.append(entry)
    }

    private func complete(_ levels: [Level], _ grouping: Int) {
        guard let last = levels.last, let first = levels.first else { return }
        let back = costs.returnSeconds(from: last.node, to: first.node, grouping)
        var best: (score: Double, index: Int)?
        for (index, entry) in last.entries[costs.layerCount].enumerated() {
            let score = costs.score(total: entry.total + back, bottleneck: entry.bottleneck, grouping)
            if score < best?.score ?? .infinity { best = (score, index) }
        }
        guard let best, best.score < threshold else { return }
        record(pieces(levels, best.index), best.score)
    }

    private func pieces(_ levels: [Level], _ index: Int) -> [Piece] {
        var pieces: [Piece] = []
        var (end, index) = (costs.layerCount, index)
        for level in levels.reversed() {
            let entry = level.entries[end][index]
            pieces.append(Piece(node: level.node, first: entry.first, end: end))
            (end, index) = (entry.first, entry.parent)
        }
        return pieces.reversed()
    }

    private func record(_ pieces: [Piece], _ score: Double) {
        let key = pieces.map(\.node).sorted()
        if keys.contains(key) {
            guard let index = found.firstIndex(where: { $0.pieces.map(\.node).sorted() == key }) else { return }
            guard score < found[index].score else { return }
            found.remove(at: index)
        }
        keys.insert(key)
        let place = found.firstIndex { ($0.score, $0.pieces.count) > (score, pieces.count) } ?? found.endIndex
        found.insert(Found(pieces: pieces, score: score), at: place)
        if found.count > keptCount, let worst = found.popLast() { keys.remove(worst.pieces.map(\.node).sorted()) }
    }
}
