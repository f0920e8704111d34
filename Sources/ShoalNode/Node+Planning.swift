package import ShoalCore
import ShoalModel
import ShoalPlanning
import ShoalReach
import ShoalScheduling

/// Where a model's layers go, from what the nodes say of themselves.
extension Node {
    package func plan(_ request: LoadRequest) async throws(ShoalError) -> PlanReport {
        let model = try await models.open(request.model)
        let draft = try await openDraft(request, model)
        if let planned = try rpcPlanned(request, model) { return planned.plan }
        return try report(planRequest(request, model, draft), request)
    }

    /// A plan that can be carried out. `asker` is the node whose user asked, this one if it is nil.
    func planned(
        _ request: LoadRequest, _ model: OpenedModel, _ draft: OpenedModel?, askedBy asker: NodeID? = nil
    ) throws(ShoalError) -> (plan: PlanReport, order: InstanceOrder) {
        if let imagined = request.imaginedNodes?.first {
            throw ShoalError(
                .invalidRequest,
                "\(imagined.name) does not exist; shoal plan shows what it would change, but it can hold nothing")
        }
        if let planned = try rpcPlanned(request, model, askedBy: asker) { return planned }
        let planRequest = try planRequest(request, model, draft)
        let plan = try report(planRequest, request)
        var order = InstanceOrder(
            id: .random(), model: model.reference, family: plan.family,
            stages: plan.stages.map {
                StageOrder(node: $0.node, nodeName: $0.nodeName, layers: $0.layers, weightBytes: $0.weightBytes)
            },
            contextTokenCount: planRequest.contextTokenCount, sequenceCountMax: planRequest.sequenceCount,
            createdUnixSeconds: UnixClock.seconds(), speculation: request.speculation ?? .auto)
        order.wire = request.wire ?? .f32
        order.draft = draft.flatMap { draft in
            LayerRange(first: 0, end: draft.shape.layerCount).map { layers in
                DraftOrder(
                    model: draft.reference, layers: layers, weightBytes: draft.shape.weightBytes(of: layers))
            }
        }
        return (plan, order)
    }

    private func planRequest(
        _ request: LoadRequest, _ model: OpenedModel, _ draft: OpenedModel?
    ) throws(ShoalError) -> PlanRequest {
        var planRequest = try PlanRequest(request, modelName: model.reference.name, shape: model.shape)
        planRequest.microBatchTokenCountMax = configuration.limits.microBatchTokenCountMax
        planRequest.promptChunkTokenCount = configuration.limits.promptChunkTokenCountMax
        if let draft {
            var needs = try PlanRequest(request, modelName: draft.reference.name, shape: draft.shape)
            needs.microBatchTokenCountMax = HeadScheduler.draftBatchTokenCountMax
            needs.contextTokenCount = planRequest.contextTokenCount
            planRequest.headExtraBytes = ByteCount(StageNeeds(needs).neededBytes(0, draft.shape.layerCount))
        }
        return planRequest
    }

    /// The draft model that was asked for; nil if none was. Throws `invalidRequest` when it cannot guess for the model,
    /// and what opening it throws.
    func openDraft(_ request: LoadRequest, _ model: OpenedModel) async throws(ShoalError) -> OpenedModel? {
        guard let name = request.draft else { return nil }
        guard request.engine != .rpc, request.rpc == nil, model.stagesProblem == nil else {
            throw ShoalError(
                .invalidRequest,
                "--draft works with the stages engine; llama-server takes a draft model of its own: -- -md PATH")
        }
        let draft = try await models.openDraft(name, for: model)
        for (model, what) in [(draft, "cannot be a draft model"), (model, "cannot have a draft model")]
        where model.shape.stateBytesPerSequence.contains(where: { $0 > .zero }) {
            throw ShoalError(
                .invalidRequest,
                "\(model.reference.name) \(what): it is of a recurrent family, which cannot take tokens back")
        }
        return draft
    }

    private func report(_ planRequest: PlanRequest, _ request: LoadRequest) throws(ShoalError) -> PlanReport {
        let announcements =
            [announcement()] + presentPeers.compactMap(\.announcement).sorted { $0.name < $1.name }
        let real = announcements.map { announcement in
            var node = PlannerNode(
                id: announcement.id, name: announcement.name, availableBytes: announcement.memoryAvailable,
                threadCount: announcement.threadCount,
                speed: announcement.speed.flatMap { $0.isPlausible ? $0 : nil })
            // libllama puts whole layers on the first GPU; what it has free was asked before anything was loaded.
            node.acceleratorBytes = node.speed?.accelerators.first?.memoryAvailable.minus(weightBytes(on: node.id))
            return node
        }
        let nodes = try PlannerNode.pool(real, request)
        return try Planner.plan(planRequest, nodes: nodes, links: plannerLinks)
    }

    /// Of all stages that a node holds.
    private func weightBytes(on node: NodeID) -> ByteCount {
        (Array(ownReports.values) + announced.values.joined()).flatMap(\.stages).filter { $0.node == node }
            .reduce(draftBytes(on: node)) { $0 + $1.weightBytes }
    }

    private func draftBytes(on node: NodeID) -> ByteCount {
        (Array(ownReports.values) + announced.values.joined()).filter { $0.head == node }.compactMap(\.draft)
            .reduce(.zero) { $0 + $1.weightBytes }
    }

    /// What is known about the ways between nodes: the best open address of each pair.
    private var plannerLinks: [PlannerLink] {
        var best: [PlannerLink] = []
        // Rows come sorted by their ends.
        for row in reach.matrix.rows where row.state == .open && row.quality?.bulkPassed != false {
            guard let quality = row.quality else { continue }
            let link = PlannerLink(
                from: row.from, to: row.to, roundTripSeconds: quality.roundTripMilliseconds / 1000,
                bytesPerSecond: quality.bytesPerSecond)
            if let last = best.last, last.from == link.from, last.to == link.to {
                if link.roundTripSeconds ?? .infinity < last.roundTripSeconds ?? .infinity {
                    best[best.count - 1] = link
                }
            } else {
                best.append(link)
            }
        }
        return best
    }
}
