import ShoalCore
import ShoalModel
import ShoalPlanning

/// Where the layers go when llama.cpp's own programs compute: what the planner says, with a head that runs llama-server
/// and foreign workers beside the nodes.
extension Node {
    /// Nil when the stages engine is to compute. Throws `unsupportedFamily` when that was asked for and cannot be, and
    /// what the planner says. `asker` is the node whose user asked, this one if it is nil.
    func rpcPlanned(
        _ request: LoadRequest, _ model: OpenedModel, askedBy asker: NodeID? = nil
    ) throws(ShoalError) -> (plan: PlanReport, order: InstanceOrder)? {
        switch request.engine {
        case .stages:
            if let problem = model.stagesProblem { throw problem }
            return nil
        case nil where model.stagesProblem == nil && request.rpc == nil: return nil
        case .rpc, nil: break
        }
        let planRequest = try PlanRequest(request, modelName: model.reference.name, shape: model.shape)
        let candidates = rpcCandidates()
        guard candidates.contains(where: { $0.foreignAddress == nil }) else {
            throw ShoalError(.engineLost, "no node has llama-server and ggml-rpc-server: \(whyNoTools())")
        }
        var plan = try rpcPlan(planRequest, request, candidates)
        plan.engine = .rpc
        if request.engine == nil, let problem = model.stagesProblem {
            plan.reasons.insert("\(problem.message); the rpc engine computes it", at: 0)
        }
        let rpc = try rpcOrder(plan, request.rpc ?? RPCOptions(), candidates, asker ?? id)
        plan.reasons.append(
            "\(rpc.headName) runs llama-server"
                + (rpc.localStage.map { " and computes layers \(plan.stages[$0].layers) itself" } ?? ""))
        for (stage, address) in rpc.foreignAddresses.sorted(by: { $0.key < $1.key }) {
            plan.reasons.append(
                "layers \(plan.stages[stage].layers) go to the foreign worker at \(address); "
                    + "the last leg of the way to it is neither authenticated nor encrypted")
        }
        var order = InstanceOrder(
            id: .random(), model: model.reference, family: plan.family,
            stages: plan.stages.map {
                StageOrder(node: $0.node, nodeName: $0.nodeName, layers: $0.layers, weightBytes: $0.weightBytes)
            },
            contextTokenCount: planRequest.contextTokenCount, sequenceCountMax: planRequest.sequenceCount,
            createdUnixSeconds: UnixClock.seconds())
        order.rpc = rpc
        return (plan, order)
    }

    /// Foreign workers are used when they are named, or when the nodes cannot hold the model: the way to them is open
    /// to whoever listens.
    private func rpcPlan(
        _ request: PlanRequest, _ load: LoadRequest, _ candidates: [Candidate]
    ) throws(ShoalError) -> PlanReport {
        for assignment in request.assignments {
            let isForeign = candidates.contains { $0.foreignAddress == assignment.nodeName }
            guard isForeign, isForeignWorkerInUse(assignment.nodeName) else { continue }
            throw ShoalError(
                .invalidPlacement,
                "the foreign worker at \(assignment.nodeName) serves another instance; it has ears for one only")
        }
        guard request.assignments.isEmpty else {
            return try Planner.plan(request, nodes: PlannerNode.pool(candidates.map(\.node), load))
        }
        do throws(ShoalError) {
            let own = candidates.filter { $0.foreignAddress == nil }.map(\.node)
            return try Planner.plan(request, nodes: PlannerNode.pool(own, load))
        } catch {
            let usable = candidates.filter { $0.foreignAddress.map { !isForeignWorkerInUse($0) } ?? true }
            guard error.code == .insufficientMemory, usable.contains(where: { $0.foreignAddress != nil }) else {
                throw error
            }
            return try Planner.plan(request, nodes: PlannerNode.pool(usable.map(\.node), load))
        }
    }

    /// A node, or a foreign worker that one carries traffic for; the planner knows no difference.
    private struct Candidate {
        var node: PlannerNode
        var foreignAddress: String?
        var hasGPU: Bool
        /// Whether it can run llama-server.
        var canHead: Bool
    }

    private func rpcCandidates() -> [Candidate] {
        let announcements = [announcement()] + peers.connected.values.compactMap(\.announcement)
        return announcements.flatMap { announcement -> [Candidate] in
            // A node may not have asked its programs yet; whether they run shows when they are needed.
            let hasTools =
                announcement.rpc?.canWork ?? (announcement.id == id ? llamaTools != nil : true)
            let own = Candidate(
                node: PlannerNode(
                    id: announcement.id, name: announcement.name, availableBytes: announcement.memoryAvailable,
                    threadCount: announcement.threadCount),
                foreignAddress: nil, hasGPU: announcement.rpc?.gpus.isEmpty == false,
                canHead: announcement.rpc?.build != nil || (announcement.rpc == nil && hasTools))
            let foreign = (announcement.rpc?.foreignWorkers ?? []).filter { $0.problem == nil }.map { worker in
                Candidate(
                    node: PlannerNode(
                        id: announcement.id, name: worker.address, availableBytes: worker.free, threadCount: 1),
                    foreignAddress: worker.address, hasGPU: false, canHead: false)
            }
            return (hasTools ? [own] : []) + foreign
        }
    }

    private func whyNoTools() -> String {
        rpcCapability?.problem ?? "they were not found yet; try again in a moment"
    }

    private func rpcOrder(
        _ plan: PlanReport, _ options: RPCOptions, _ candidates: [Candidate], _ asker: NodeID
    ) throws(ShoalError) -> RPCOrder {
        // A stage carries the planner's name of its place: a node's, or a foreign worker's address.
        let places = plan.stages.map { stage in candidates.first { $0.node.name == stage.nodeName } }
        let head = try rpcHead(plan, options, places, asker)
        var foreign: [Int: String] = [:]
        for (index, place) in places.enumerated() { foreign[index] = place?.foreignAddress }
        // Without a GPU llama-server computes first layers, with one last layers.
        let local = head.hasGPU ? plan.stages.count - 1 : 0
        let isLocal = plan.stages[local].node == head.node.id && foreign[local] == nil
        return RPCOrder(
            head: head.node.id, headName: head.node.name, localStage: isLocal ? local : nil,
            foreignAddresses: foreign, options: options)
    }

    /// The node that was named; that of a model on one node; else the one that was asked, which has the file; else this
    /// one, which has it too.
    private func rpcHead(
        _ plan: PlanReport, _ options: RPCOptions, _ places: [Candidate?], _ asker: NodeID
    ) throws(ShoalError) -> Candidate {
        let nodes = rpcCandidates().filter(\.canHead)
        if let name = options.headName {
            guard let named = nodes.first(where: { $0.node.name == name }) else {
                throw ShoalError(.invalidPlacement, "the head \(name) is no node that has llama-server")
            }
            return named
        }
        if places.count == 1, let only = places[0], only.canHead { return only }
        for known in [asker, id] { if let own = nodes.first(where: { $0.node.id == known }) { return own } }
        guard let first = places.compactMap({ $0 }).first(where: \.canHead) ?? nodes.first else {
            throw ShoalError(.engineLost, "no node has llama-server")
        }
        return first
    }
}
