package import ShoalCore

extension PlannerNode {
    /// The nodes that a request may use: those that are there without the excluded ones, and the imagined ones, which
    /// are taken to be like the first of `real`.
    /// - Throws: `invalidRequest` for names that no node or more than one has.
    package static func pool(_ real: [PlannerNode], _ request: LoadRequest) throws(ShoalError) -> [PlannerNode] {
        var pool = real
        for name in request.excludedNodes ?? [] {
            let matches = pool.filter { $0.name == name || $0.id.rawValue == name }
            guard let match = matches.first else {
                let names = real.map(\.name).joined(separator: ", ")
                throw ShoalError(.invalidRequest, "no node is named \"\(name)\"; there are \(names)")
            }
            guard matches.count == 1 else {
                throw ShoalError(
                    .invalidRequest, "\(matches.count) nodes are named \"\(name)\"; use the node's id")
            }
            pool.removeAll { $0.id == match.id }
        }
        guard !pool.isEmpty || request.imaginedNodes?.isEmpty == false else {
            throw ShoalError(.invalidRequest, "no node is left to place the model on: all are excluded")
        }
        for imagined in request.imaginedNodes ?? [] {
            guard !pool.contains(where: { $0.name == imagined.name }) else {
                throw ShoalError(.invalidRequest, "there is a node named \"\(imagined.name)\" already")
            }
            pool.append(try PlannerNode.imagined(imagined, like: real.first))
        }
        return pool
    }

    private static func imagined(
        _ imagined: LoadRequest.ImaginedNode, like model: PlannerNode?
    ) throws(ShoalError) -> PlannerNode {
        let digits = imagined.name.utf8.prefix(Limits.nodeIDCharacterCountMax / 2).map { byte in
            let text = String(byte, radix: 16)
            return text.count < 2 ? "0" + text : text
        }
        guard let id = NodeID(digits.joined()) else {
            throw ShoalError(.invalidRequest, "\"\(imagined.name)\" is no name of a node")
        }
        var speed = model?.speed
        speed?.observations = []
        return PlannerNode(
            id: id, name: imagined.name, availableBytes: imagined.memory, threadCount: model?.threadCount ?? 1,
            speed: speed, isImagined: true)
    }
}
