import ShoalCore
import ShoalModel

/// Why a placement was chosen, and what a refused one lacks.
extension Placement {
    func reasons(for chosen: PlacementSearch.Found, _ found: [PlacementSearch.Found]) -> [String] {
        chosen.pieces.count == 1 ? soloReasons(chosen, found) : splitReasons(chosen, found)
    }

    private func soloReasons(_ chosen: PlacementSearch.Found, _ found: [PlacementSearch.Found]) -> [String] {
        guard let piece = chosen.pieces.first else { return [] }
        let node = nodes[piece.node]
        var reasons = [
            "the whole model fits on \(node.name): it needs \(bytes(piece)), of \(node.availableBytes) available"
        ]
        let holders = solos()
        if holders.count > 1 {
            reasons.append("\(node.name) is predicted fastest of the \(holders.count) nodes that can hold it alone")
        }
        if let split = found.first(where: { $0.pieces.count > 1 }) {
            let names = split.pieces.map { nodes[$0.node].name }.joined(separator: ", ")
            reasons.append(
                split.score > chosen.score
                    ? "the best split, over \(names), is predicted \(percent(split.score / chosen.score - 1)) slower"
                    : "a split over \(names) is predicted only \(percent(1 - split.score / chosen.score)) faster, "
                        + "which is too little for its further nodes")
        }
        for other in nodes.indices where other != piece.node && !holders.contains(where: { $0.pieces[0].node == other })
        {
            let whole = Piece(node: other, first: 0, end: layerCount)
            reasons.append(
                "\(nodes[other].name) cannot hold it alone: \(bytes(whole)) needed, "
                    + "\(nodes[other].availableBytes) available")
        }
        return shortened(reasons)
    }

    private func splitReasons(_ chosen: PlacementSearch.Found, _ found: [PlacementSearch.Found]) -> [String] {
        var reasons: [String] = []
        if let solo = solos().first {
            reasons.append(
                "this split is predicted \(percent(solo.score / chosen.score - 1)) faster than "
                    + "\(nodes[solo.pieces[0].node].name) alone, which could hold the whole model")
        } else {
            reasons.append(
                "no node can hold the whole model, which needs \(ByteCount(needs.neededBytes(0, layerCount))) "
                    + "on one node")
        }
        let fewest = found.map(\.pieces.count).min() ?? chosen.pieces.count
        reasons.append(
            chosen.pieces.count == fewest
                ? "\(fewest) stages are the fewest that hold it; each further one adds a network hop to every token"
                : "\(chosen.pieces.count) stages are predicted faster than \(fewest)")
        let slowest = chosen.pieces.max { costs.seconds($0, 0) < costs.seconds($1, 0) }
        if let slowest { reasons.append("\(nodes[slowest.node].name) is predicted to be the slowest stage") }
        for (index, node) in nodes.enumerated() where !chosen.pieces.contains(where: { $0.node == index }) {
            reasons.append(reasonAgainst(node))
        }
        return shortened(reasons)
    }

    /// A cluster of hundreds would drown the rest.
    private func shortened(_ reasons: [String]) -> [String] {
        guard reasons.count > Placement.reasonCountMax else { return reasons }
        return reasons.prefix(Placement.reasonCountMax) + ["and \(reasons.count - Placement.reasonCountMax) more nodes"]
    }

    private static let reasonCountMax = 20

    private func percent(_ share: Double) -> String { "\(oneDecimal(share * 100)) %" }

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
        let shown = nodes.prefix(Placement.reasonCountMax).map { "\($0.name) \($0.availableBytes)" }
        let more = nodes.count > shown.count ? " and \(nodes.count - shown.count) more" : ""
        var text = "\(request.modelName): needs \(needed), has \(total): \(shown.joined(separator: ", "))\(more)"
        if request.shape.legalCuts.isEmpty, layerCount > 1 {
            text += "; this model cannot be cut, so one node has to hold all of it"
        } else {
            let smallest = smallestShard
            let small = nodes.filter { $0.availableBytes.rawValue < smallest }.prefix(Placement.reasonCountMax)
            if !small.isEmpty {
                text +=
                    "; \(small.map(\.name).joined(separator: ", ")) cannot hold even one layer, "
                    + "which takes \(ByteCount(smallest))"
            }
        }
        if let missing = smallestFurtherNode() {
            text += "; one more node with at least \(missing) would hold it"
        }
        return ShoalError(.insufficientMemory, text)
    }

    /// The least memory of one more node with which a placement is found.
    ///
    /// Only whether something fits counts here, so nodes with the most memory stand for all of them.
    private func smallestFurtherNode() -> ByteCount? {
        let search = FitSearch(needs: needs, costs: costs, layerCount: layerCount)
        return search.leastFurtherBytes(to: nodes).map { ByteCount($0) }
    }
}
