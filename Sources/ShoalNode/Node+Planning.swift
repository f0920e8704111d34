package import ShoalCore
import ShoalModel
import ShoalPlanning

/// Where a model's layers go, from what the nodes say of themselves.
extension Node {
    package func plan(_ request: LoadRequest) async throws(ShoalError) -> PlanReport {
        try report(planRequest(request, try await models.open(request.model)), request)
    }

    /// A plan that can be carried out.
    func planned(
        _ request: LoadRequest, _ model: OpenedModel
    ) throws(ShoalError) -> (plan: PlanReport, order: InstanceOrder) {
        if let imagined = request.imaginedNodes?.first {
            throw ShoalError(
                .invalidRequest,
                "\(imagined.name) does not exist; shoal plan shows what it would change, but it can hold nothing")
        }
        let planRequest = try planRequest(request, model)
        let plan = try report(planRequest, request)
        let order = InstanceOrder(
            id: .random(), model: model.reference, family: plan.family,
            stages: plan.stages.map {
                StageOrder(node: $0.node, nodeName: $0.nodeName, layers: $0.layers, weightBytes: $0.weightBytes)
            },
            contextTokenCount: planRequest.contextTokenCount, sequenceCountMax: planRequest.sequenceCount,
            createdUnixSeconds: UnixClock.seconds())
        return (plan, order)
    }

    private func planRequest(_ request: LoadRequest, _ model: OpenedModel) throws(ShoalError) -> PlanRequest {
        var planRequest = try PlanRequest(request, modelName: model.reference.name, shape: model.shape)
        planRequest.microBatchTokenCountMax = configuration.limits.microBatchTokenCountMax
        planRequest.promptChunkTokenCount = configuration.limits.promptChunkTokenCountMax
        return planRequest
    }

    private func report(_ planRequest: PlanRequest, _ request: LoadRequest) throws(ShoalError) -> PlanReport {
        let announcements =
            [announcement()] + peers.connected.values.compactMap(\.announcement).sorted { $0.name < $1.name }
        let real = announcements.map { announcement in
            PlannerNode(
                id: announcement.id, name: announcement.name, availableBytes: announcement.memoryAvailable,
                threadCount: announcement.threadCount,
                speed: announcement.speed.flatMap { $0.isPlausible ? $0 : nil })
        }
        let nodes = try PlannerNode.pool(real, request)
        return try Planner.plan(planRequest, nodes: nodes, links: plannerLinks)
    }

    /// What is known about the ways between nodes.
    private var plannerLinks: [PlannerLink] { [] }
}
