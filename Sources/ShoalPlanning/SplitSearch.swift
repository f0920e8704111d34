import ShoalCore
import ShoalModel

/// Finds how to cut a model over nodes: as few stages as possible, then the smallest bottleneck.
///
/// Exact over all cuts and node orders up to `exactNodeCountMax` nodes and `exactLayerCountMax` layers. Past that the
/// nodes with the most memory are searched exactly first; if they do not suffice, nodes are filled one after the other
/// in the order of their memory, which may miss a placement that barely fits.
struct SplitSearch {
    /// Layers `first..<end` on `nodes[node]`.
    struct Piece: Hashable {
        var node: Int
        var first: Int
        var end: Int
    }

    static let exactNodeCountMax = 8
    /// `LLAMA_MAX_LAYERS` of the pinned llama.cpp.
    static let exactLayerCountMax = 512

    let shape: ModelShape
    let needs: StageNeeds
    let nodes: [PlannerNode]
    private let usesMeasurements: Bool

    init(shape: ModelShape, needs: StageNeeds, nodes: [PlannerNode]) {
        self.shape = shape
        self.needs = needs
        self.nodes = nodes
        usesMeasurements = nodes.allSatisfy { $0.measuredSecondsPerLayer != nil }
    }

    /// Nil if no placement was found.
    func best() -> [Piece]? {
        let byMemory = nodes.indices.sorted {
            (nodes[$1].availableBytes, nodes[$0].name) < (nodes[$0].availableBytes, nodes[$1].name)
        }
        if shape.layerCount <= SplitSearch.exactLayerCountMax {
            let candidates = Array(byMemory.prefix(SplitSearch.exactNodeCountMax))
            if let pieces = exact(over: candidates) { return pieces }
            if nodes.count <= SplitSearch.exactNodeCountMax { return nil }
        }
        return filled(byMemory)
    }

    func fits(_ piece: Piece) -> Bool {
        needs.neededBytes(piece.first, piece.end) <= nodes[piece.node].availableBytes.rawValue
    }

    func cost(_ piece: Piece) -> Double {
        needs.cost(piece.first, piece.end, on: nodes[piece.node], usesMeasurements: usesMeasurements)
    }

    func isLegal(_ piece: Piece) -> Bool {
        LayerRange(first: piece.first, end: piece.end).map { shape.problem(with: $0) == nil } ?? false
    }

    // MARK: Exact

    /// The best way to place the first layers on a set of nodes.
    private struct State {
        var bottleneck: Double
        var total: Double
        var piece: Piece
    }

    /// Dynamic programming over the set of nodes already used and the number of layers already placed: what comes after
    /// depends on nothing else.
    private func exact(over candidates: [Int]) -> [Piece]? {
        let layerCount = shape.layerCount
        let setCount = 1 << candidates.count
        var table = [[State?]](repeating: Array(repeating: nil, count: layerCount + 1), count: setCount)
        for set in 0..<setCount {
            for first in 0..<layerCount where set == 0 ? first == 0 : table[set][first] != nil {
                for (bit, node) in candidates.enumerated() where set & (1 << bit) == 0 {
                    extend(&table, set: set, first: first, bit: bit, node: node)
                }
            }
        }
        let full = (1..<setCount).filter { table[$0][layerCount] != nil }
        let best = full.min { left, right in
            let (a, b) = (table[left][layerCount], table[right][layerCount])
            return (left.nonzeroBitCount, a?.bottleneck ?? 0, a?.total ?? 0, left)
                < (right.nonzeroBitCount, b?.bottleneck ?? 0, b?.total ?? 0, right)
        }
        return best.map { pieces(table, set: $0, candidates: candidates) }
    }

    private func extend(_ table: inout [[State?]], set: Int, first: Int, bit: Int, node: Int) {
        let before = set == 0 ? nil : table[set][first]
        for end in first + 1...shape.layerCount {
            let piece = Piece(node: node, first: first, end: end)
            // Longer ranges need more, except that the last one has another matrix: look at it in any case.
            guard fits(piece) else {
                if end == shape.layerCount { break }
                continue
            }
            guard isLegal(piece) else { continue }
            let cost = cost(piece)
            let state = State(
                bottleneck: max(before?.bottleneck ?? 0, cost), total: (before?.total ?? 0) + cost, piece: piece)
            let target = set | 1 << bit
            if let old = table[target][end], (old.bottleneck, old.total) <= (state.bottleneck, state.total) { continue }
            table[target][end] = state
        }
    }

    private func pieces(_ table: [[State?]], set: Int, candidates: [Int]) -> [Piece] {
        var pieces: [Piece] = []
        var set = set
        var end = shape.layerCount
        while end > 0, let piece = table[set][end]?.piece, let bit = candidates.firstIndex(of: piece.node) {
            pieces.append(piece)
            set &= ~(1 << bit)
            end = piece.first
        }
        return pieces.reversed()
    }

    // MARK: Heuristic

    /// Each node takes as many layers as it can hold.
    private func filled(_ order: [Int]) -> [Piece]? {
        var pieces: [Piece] = []
        var first = 0
        for node in order.prefix(Limits.stageCountMax) {
            let ends = (first + 1...shape.layerCount).reversed()
            guard
                let piece = ends.lazy.map({ Piece(node: node, first: first, end: $0) }).first(where: {
                    fits($0) && isLegal($0)
                })
            else { continue }
            pieces.append(piece)
            first = piece.end
            if first == shape.layerCount { return pieces }
        }
        return nil
    }
}
