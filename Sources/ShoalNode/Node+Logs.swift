package import ShoalCore

/// The engines' last words, from wherever they run.
extension Node {
    package func engineLogs(of nodeOrInstance: String) async throws(ShoalError) -> [EngineLogReport] {
        let all = await nodes()
        if let index = try NodeNaming.index(of: nodeOrInstance, among: all.map { ($0.name, $0.id) }) {
            let node = all[index]
            guard let id = node.id else {
                throw ShoalError(
                    .linkLost, "the node at \(node.linkAddress) is not connected: \(node.problem ?? "no reason")")
            }
            return try await engineLogs(on: id, of: nil)
        }
        let wanted = ModelLibrary.name(ofFile: nodeOrInstance).lowercased()
        guard
            let instance = await instances().first(where: {
                "\($0.id)" == nodeOrInstance || $0.model.lowercased() == wanted
            })
        else {
            throw ShoalError(
                .notFound, "there is no node and no instance \"\(nodeOrInstance)\"; shoal nodes and shoal ps list them")
        }
        var logs: [EngineLogReport] = []
        var asked: Set<NodeID> = []
        for node in [instance.head] + instance.stages.map(\.node) where asked.insert(node).inserted {
            logs += try await engineLogs(on: node, of: instance.id)
        }
        return logs.sorted { $0.stageIndex < $1.stageIndex }
    }

    private func engineLogs(on node: NodeID, of instance: InstanceID?) async throws(ShoalError) -> [EngineLogReport] {
        let reply = try await ask(node, .engineLogs(instance), deadline: configuration.limits.requestDeadline)
        guard case .engineLogs(let logs) = reply else {
            throw ShoalError(.protocolViolation, "node \(node) answered something else to engineLogs")
        }
        return logs
    }

    /// Of the stages on this node, sorted by instance.
    func ownEngineLogs(of instance: InstanceID?) async -> [EngineLogReport] {
        var logs: [EngineLogReport] = []
        for (id, stage) in stages.sorted(by: { $0.key < $1.key }) where instance == nil || id == instance {
            if let log = await stage.log(nodeName: configuration.name) { logs.append(log) }
        }
        for (id, stages) in workers.sorted(by: { $0.key < $1.key }) where instance == nil || id == instance {
            for (_, worker) in stages.sorted(by: { $0.key < $1.key }) {
                if let log = await worker.log() { logs.append(log) }
            }
        }
        for head in heads.all where instance == nil || head.order.id == instance {
            if let log = await (head as? RPCHead)?.serverLog() { logs.append(log) }
            if let log = await (head as? HeadService)?.draftLog() { logs.append(log) }
        }
        return logs
    }
}
