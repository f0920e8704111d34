import ShoalCore

/// Placements over more nodes than can be searched exactly.
///
/// Small sets of promising nodes are searched exactly: those with the most memory, the fastest, the neighbours of both.
/// Models that need more nodes than that are laid over nodes in several orders, each cut as well as the order allows,
/// and then single nodes are exchanged while that helps. It may miss the best placement, and one that barely fits.
struct LargeClusterSearch {
    private let costs: PlanCosts
    private let keptCount: Int
    /// Nodes that can hold at least one layer.
    private let usable: [Int]

    private static let setSize = Planner.exactNodeCountMax
    private static let stepCountMaxPerSet = 200_000
    private static let stepCountMaxPerOrder = 400_000
    /// Cuts that the sets are searched with at first.
    private static let coarseCutCount = 20
    private static let refinementCountMax = 2000
    /// Nodes that are tried in place of each one of a placement.
    private static let exchangeCountMax = 8
    private static let exchangedStageCountMax = 8

    init(_ costs: PlanCosts, keptCount: Int) {
        self.costs = costs
        self.keptCount = keptCount
        usable = costs.nodes.indices.filter { node in
            (0..<costs.layerCount).contains { costs.fits(Piece(node: node, first: $0, end: $0 + 1)) }
        }
    }

    func run() -> [PlacementSearch.Found] {
        let collector = PlacementSearch(costs, candidates: [], stageCountMax: 0, keptCount: keptCount, stepCountMax: 0)
        let byMemory = usable.sorted { memory($0) > memory($1) }
        let bySpeed = usable.sorted { secondsOfAll($0) < secondsOfAll($1) }
        let byWorth = usable.sorted { worth($0) > worth($1) }
        for set in sets(byMemory, bySpeed, byWorth) {
            let search = PlacementSearch(
                costs, candidates: set, stageCountMax: set.count, keptCount: keptCount,
                stepCountMax: LargeClusterSearch.stepCountMaxPerSet,
                cutStep: max(1, costs.layerCount / LargeClusterSearch.coarseCutCount))
            search.run()
            for found in search.found { collector.keep(refined(found.pieces)) }
        }
        for order in [byMemory, byWorth, bySpeed, nearest(from: byMemory.first, among: byMemory)] {
            guard let nodes = fewest(of: order), let pieces = cut(nodes) else { continue }
            collector.keep(refined(pieces))
            exchange(pieces, for: bySpeed + byWorth.prefix(LargeClusterSearch.exchangeCountMax)) { collector.keep($0) }
        }
        return collector.found
    }

    /// Moves single cuts while that helps.
    private func refined(_ pieces: [Piece]) -> [Piece] {
        var best = pieces
        var bestScore = costs.score(best)
        var isImproved = true
        var stepsLeft = LargeClusterSearch.refinementCountMax
        while isImproved, stepsLeft > 0 {
            isImproved = false
            for cut in best.indices.dropFirst() {
                for shift in [-1, 1] {
                    stepsLeft -= 1
                    var candidate = best
                    candidate[cut].first += shift
                    candidate[cut - 1].end += shift
                    let touched = candidate[cut - 1...cut]
                    guard touched.allSatisfy({ $0.first < $0.end && costs.fits($0) && costs.isLegal($0.first, $0.end) })
                    else { continue }
                    let score = costs.score(candidate)
                    if score < bestScore { (best, bestScore, isImproved) = (candidate, score, true) }
                }
            }
        }
        return best
    }

    // MARK: Sets

    private func sets(_ byMemory: [Int], _ bySpeed: [Int], _ byWorth: [Int]) -> [[Int]] {
        let size = LargeClusterSearch.setSize
        let half = size / 2
        var sets = [
            Array(byMemory.prefix(size)), Array(byWorth.prefix(size)), Array(bySpeed.prefix(size)),
            unique(Array(byMemory.prefix(half)) + bySpeed.prefix(size)),
        ]
        for center in [byMemory.first, byWorth.first, bySpeed.first] {
            sets.append(Array(nearest(from: center, among: byWorth).prefix(size)))
        }
        var seen: Set<[Int]> = []
        return sets.filter { !$0.isEmpty && seen.insert($0.sorted()).inserted }
    }

    private func unique(_ nodes: [Int]) -> [Int] {
        var seen: Set<Int> = []
        return Array(nodes.filter { seen.insert($0).inserted }.prefix(LargeClusterSearch.setSize))
    }

    private func memory(_ node: Int) -> (Int, Int) { (costs.nodes[node].availableBytes.rawValue, -node) }

    /// As if it held the whole model.
    private func secondsOfAll(_ node: Int) -> (Double, Int) {
        (costs.seconds(Piece(node: node, first: 0, end: costs.layerCount), 0), node)
    }

    /// Layers that fit, over the time that one takes.
    private func worth(_ node: Int) -> (Double, Int) {
        let held = (0...costs.layerCount).last { costs.fits(Piece(node: node, first: 0, end: $0)) } ?? 0
        return (Double(held) / max(1e-12, secondsOfAll(node).0), -node)
    }

    /// `center`, and the others by their round trip to it; unmeasured ones keep their order, at the end.
    private func nearest(from center: Int?, among nodes: [Int]) -> [Int] {
        guard let center else { return nodes }
        let measured = nodes.filter { $0 != center }.map { ($0, costs.links.roundTrip(center, $0)) }
        let near = measured.compactMap { node, time in time.map { (node, $0) } }.sorted { $0.1 < $1.1 }
        return [center] + near.map(\.0) + measured.filter { $0.1 == nil }.map(\.0)
    }

    // MARK: Long pipelines

    /// The beginning of `order` that holds the model when each node takes as many layers as it can.
    private func fewest(of order: [Int]) -> [Int]? {
        var nodes: [Int] = []
        var first = 0
        for node in order {
            guard nodes.count < Limits.stageCountMax else { return nil }
            let ends = (first + 1...costs.layerCount).reversed()
            let end = ends.first { costs.isLegal(first, $0) && costs.fits(Piece(node: node, first: first, end: $0)) }
            guard let end else { continue }
            nodes.append(node)
            first = end
            if first == costs.layerCount { return nodes }
        }
        return nil
    }

    /// The best cuts for nodes in this order.
    private func cut(_ order: [Int]) -> [Piece]? {
        OrderedCut(costs, order: order, stepCountMax: LargeClusterSearch.stepCountMaxPerOrder).best()
    }

    /// Tries other nodes in the place of each one, as long as that helps.
    private func exchange(_ pieces: [Piece], for others: some Sequence<Int>, _ found: ([Piece]) -> Void) {
        var best = pieces
        var bestScore = costs.score(best)
        let others = Array(others)
        for place in best.indices.prefix(LargeClusterSearch.exchangedStageCountMax) {
            let used = Set(best.map(\.node))
            for other in others.lazy.filter({ !used.contains($0) }).prefix(LargeClusterSearch.exchangeCountMax) {
                var candidate = best
                candidate[place].node = other
                let score = costs.score(candidate)
                guard candidate.allSatisfy(costs.fits), score < bestScore else { continue }
                (best, bestScore) = (candidate, score)
                found(candidate)
            }
        }
    }
}

/// The best cuts of a model over nodes whose order is given, each of which may also stay empty at the end.
struct OrderedCut {
    private let costs: PlanCosts
    private let order: [Int]
    private let stepCountMax: Int

    init(_ costs: PlanCosts, order: [Int], stepCountMax: Int) {
        self.costs = costs
        self.order = order
        self.stepCountMax = stepCountMax
    }

    /// For the time of one group through all stages and for the slowest stage, whichever scores better; nil when the
    /// order does not hold the model or the search would take too long.
    func best() -> [Piece]? {
        let layers = costs.layerCount
        guard order.count * layers * layers / 2 <= stepCountMax else { return filled() }
        let grouping = costs.groupings.count - 1
        let cuts = [
            cut(grouping, combine: +), cut(grouping, combine: { max($0, $1) }), filled(),
        ].compactMap { $0 }
        return cuts.min { costs.score($0) < costs.score($1) }
    }

    /// Every node of the order takes at least one layer.
    private func cut(_ grouping: Int, combine: (Double, Double) -> Double) -> [Piece]? {
        let layers = costs.layerCount
        var table = [[(cost: Double, first: Int)?]]()
        for (place, node) in order.enumerated() {
            var row = [(cost: Double, first: Int)?](repeating: nil, count: layers + 1)
            for end in 1...layers {
                for first in (place == 0 ? 0 : 1)..<(place == 0 ? 1 : max(1, end)) {
                    guard let before = place == 0 ? 0 : table[place - 1][first]?.cost else { continue }
                    let piece = Piece(node: node, first: first, end: end)
                    guard costs.fits(piece), costs.isLegal(first, end) else { continue }
                    let cost = combine(before, costs.seconds(piece, grouping))
                    if cost < row[end]?.cost ?? .infinity { row[end] = (cost, first) }
                }
            }
            table.append(row)
        }
        var pieces: [Piece] = []
        var end = layers
        for (place, node) in order.enumerated().reversed() {
            guard let first = table[place][end]?.first else { return nil }
            pieces.append(Piece(node: node, first: first, end: end))
            end = first
        }
        return pieces.reversed()
    }

    /// Each node takes as many layers as it can.
    private func filled() -> [Piece]? {
        var pieces: [Piece] = []
        var first = 0
        for node in order {
            let ends = (first + 1...costs.layerCount).reversed()
            let end = ends.first { costs.isLegal(first, $0) && costs.fits(Piece(node: node, first: first, end: $0)) }
            guard let end else { continue }
            pieces.append(Piece(node: node, first: first, end: end))
            first = end
            if first == costs.layerCount { return pieces }
        }
        return nil
    }
}
