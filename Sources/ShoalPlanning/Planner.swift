package import ShoalCore
import ShoalModel

/// Decides which node holds which layers, and says why.
///
/// Cutting a model never makes one request faster than a device that holds all of it, so the planner uses as few nodes
/// as it can: one if the model fits, else the fewest that hold it, and among those the split whose slowest stage is
/// fastest.
package enum Planner {
    /// - Parameter nodes: those that can be reached, any order.
    /// - Throws: `invalidPlacement` for `assignments` that cannot be, `insufficientMemory` with the numbers.
    package static func plan(_ request: PlanRequest, nodes: [PlannerNode]) throws(ShoalError) -> PlanReport {
        guard !nodes.isEmpty else {
            throw ShoalError(.insufficientMemory, "\(request.modelName): no node is reachable")
        }
        let placement = Placement(request: request, nodes: nodes)
        if !request.assignments.isEmpty { return try placement.explicit() }
        if let report = placement.solo() { return report }
        if let report = placement.split() { return report }
        throw placement.refusal()
    }
}

/// One run of the planner.
struct Placement {
    let request: PlanRequest
    let nodes: [PlannerNode]
    let needs: StageNeeds
    let search: SplitSearch

    init(request: PlanRequest, nodes: [PlannerNode]) {
        self.request = request
        // Sorted, so that the result does not depend on the order in which nodes were found.
        self.nodes = nodes.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
        needs = StageNeeds(request)
        search = SplitSearch(shape: request.shape, needs: needs, nodes: self.nodes)
    }

    private var layerCount: Int { request.shape.layerCount }

    // MARK: One node

    func solo() -> PlanReport? {
        let whole = nodes.indices.map { SplitSearch.Piece(node: $0, first: 0, end: layerCount) }
        let holders = whole.filter(search.fits)
        guard let best = holders.min(by: { search.cost($0) < search.cost($1) }) else { return nil }
        let node = nodes[best.node]
        var reasons = [
            "the whole model fits on \(node.name): it needs \(bytes(best)), of \(node.availableBytes) available; "
                + "one device answers a request faster than any split"
        ]
        if holders.count > 1 {
            reasons.append("\(node.name) is predicted fastest of the \(holders.count) nodes that can hold it alone")
        }
        for piece in whole where !search.fits(piece) {
            let other = nodes[piece.node]
            reasons.append(
                "\(other.name) cannot hold it alone: \(bytes(piece)) needed, \(other.availableBytes) available")
        }
        return report([best], reasons)
    }

    // MARK: Several nodes

    func split() -> PlanReport? {
        guard let pieces = search.best() else { return nil }
        var reasons = [
            "no node can hold the whole model, which needs \(ByteCount(needs.neededBytes(0, layerCount))) on one node",
            "\(pieces.count) stages are the fewest that hold it; each further one adds a network hop to every token",
        ]
        let slowest = pieces.max { search.cost($0) < search.cost($1) }
        if let slowest { reasons.append("\(nodes[slowest.node].name) is predicted to be the slowest stage") }
        for (index, node) in nodes.enumerated() where !pieces.contains(where: { $0.node == index }) {
            reasons.append(reasonAgainst(node))
        }
        return report(pieces, reasons)
    }

    private func reasonAgainst(_ node: PlannerNode) -> String {
        let smallest = smallestShard
        guard node.availableBytes.rawValue < smallest else { return "\(node.name) is not needed" }
        return "\(node.name) is not used: it has \(node.availableBytes), "
            + "and its smallest useful shard needs \(ByteCount(smallest))"
    }

    /// The least that a node needs to hold any one layer.
    private var smallestShard: Int { (0..<layerCount).map { needs.neededBytes($0, $0 + 1) }.min() ?? 0 }

    // MARK: Refusal

    func refusal() -> ShoalError {
        let needed = ByteCount(needs.neededBytes(0, layerCount))
        let total = nodes.reduce(ByteCount.zero) { $0 + $1.availableBytes }
        let list = nodes.map { "\($0.name) \($0.availableBytes)" }.joined(separator: ", ")
        var text = "\(request.modelName): needs \(needed), has \(total): \(list)"
        if request.shape.legalCuts.isEmpty, layerCount > 1 {
            text += "; this model cannot be cut, so one node has to hold all of it"
        } else {
            let small = nodes.filter { $0.availableBytes.rawValue < smallestShard }.map(\.name)
            if !small.isEmpty {
                text +=
                    "; \(small.joined(separator: ", ")) cannot hold even one layer, "
                    + "which takes \(ByteCount(smallestShard))"
            }
        }
        if let missing = smallestFurtherNode() {
            text += "; one more node with at least \(missing) would hold it"
        }
        return ShoalError(.insufficientMemory, text)
    }

    /// The least memory of one more node with which a placement is found.
    private func smallestFurtherNode() -> ByteCount? {
        // It would hold some range of layers, so only what ranges need comes into question.
        var sizes: [Int] = []
        let step = max(1, layerCount / SplitSearch.exactLayerCountMax)
        for first in stride(from: 0, to: layerCount, by: step) {
            for end in stride(from: layerCount, to: first, by: -step) { sizes.append(needs.neededBytes(first, end)) }
        }
        sizes.sort()
        var (low, high) = (0, sizes.count - 1)
        guard high >= 0, suffices(sizes[high]) else { return nil }
        while low < high {
            let middle = (low + high) / 2
            if suffices(sizes[middle]) { high = middle } else { low = middle + 1 }
        }
        return ByteCount(sizes[high])
    }

    private func suffices(_ byteCount: Int) -> Bool {
        guard let first = nodes.first else { return false }
        var further = first
        further.availableBytes = ByteCount(byteCount)
        return SplitSearch(shape: request.shape, needs: needs, nodes: nodes + [further]).best() != nil
    }

    // MARK: The report

    func report(_ pieces: [SplitSearch.Piece], _ reasons: [String]) -> PlanReport {
        PlanReport(
            model: request.modelName, family: request.shape.family, layerCount: layerCount,
            stages: pieces.compactMap(stage), boundaryBytesPerToken: request.shape.boundaryBytesPerToken,
            reasons: reasons)
    }

    private func stage(_ piece: SplitSearch.Piece) -> PlanReport.Stage? {
        guard let layers = LayerRange(first: piece.first, end: piece.end) else { return nil }
        let node = nodes[piece.node]
        return PlanReport.Stage(
            node: node.id, nodeName: node.name, layers: layers,
            weightBytes: ByteCount(needs.weightBytes(piece.first, piece.end)),
            neededBytes: ByteCount(needs.neededBytes(piece.first, piece.end)), availableBytes: node.availableBytes)
    }

    func bytes(_ piece: SplitSearch.Piece) -> ByteCount { ByteCount(needs.neededBytes(piece.first, piece.end)) }
}
