import ShoalCore
import ShoalModel

extension Placement {
    /// The placement that a person asked for, or why it cannot be.
    func explicit() throws(ShoalError) -> PlanReport {
        let sorted = request.assignments.sorted { $0.layers.first < $1.layers.first }
        var pieces: [Piece] = []
        var next = 0
        for assignment in sorted {
            let layers = assignment.layers
            if let problem = request.shape.problem(with: layers) {
                throw invalid("\(assignment.nodeName)=\(layers): \(problem)")
            }
            guard layers.first >= next else {
                throw invalid(
                    "layer \(layers.first) is assigned twice: \(assignment.nodeName)=\(layers) overlaps the one before")
            }
            guard layers.first == next else { throw gap(next, layers.first - 1) }
            let node = try node(named: assignment.nodeName)
            guard !pieces.contains(where: { $0.node == node }) else {
                throw invalid("\(assignment.nodeName) is named twice; a node holds one contiguous range")
            }
            pieces.append(Piece(node: node, first: layers.first, end: layers.end))
            next = layers.end
        }
        guard next == request.shape.layerCount else { throw gap(next, request.shape.layerCount - 1) }
        for piece in pieces where !costs.fits(piece) { throw tooSmall(piece) }
        return report(pieces, ["the layers were assigned by hand"])
    }

    /// By name, or by id.
    private func node(named name: String) throws(ShoalError) -> Int {
        let matches = nodes.indices.filter { nodes[$0].name == name || nodes[$0].id.rawValue == name }
        guard let match = matches.first else {
            throw invalid("no node is named \"\(name)\"; there are \(nodes.map(\.name).joined(separator: ", "))")
        }
        guard matches.count == 1 else {
            throw invalid("\(matches.count) nodes are named \"\(name)\"; use the node's id")
        }
        return match
    }

    private func gap(_ first: Int, _ last: Int) -> ShoalError {
        let layers = first == last ? "layer \(first) is" : "the layers \(first)-\(last) are"
        return invalid("\(layers) assigned to no node; the model has the layers 0-\(request.shape.layerCount - 1)")
    }

    private func tooSmall(_ piece: Piece) -> ShoalError {
        let node = nodes[piece.node]
        let layers = "\(piece.first)-\(piece.end - 1)"
        return ShoalError(
            .insufficientMemory,
            "\(request.modelName): the layers \(layers) need \(bytes(piece)) on \(node.name), which has "
                + "\(node.availableBytes) available; give it fewer layers")
    }

    private func invalid(_ what: String) -> ShoalError {
        ShoalError(.invalidPlacement, "\(request.modelName): \(what)")
    }
}
