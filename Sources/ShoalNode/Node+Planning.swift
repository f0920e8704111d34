package import ShoalCore
import ShoalModel
import ShoalPlanning

/// Where a model's layers go, from what the nodes say of themselves.
extension Node {
    package func plan(_ request: LoadRequest) async throws(ShoalError) -> PlanReport {
        try planned(request, try await models.open(request.model)).plan
    }

    func planned(
        _ request: LoadRequest, _ model: OpenedModel
    ) throws(ShoalError) -> (plan: PlanReport, order: InstanceOrder) {
        let planRequest = try PlanRequest(request, modelName: model.reference.name, shape: model.shape)
        let announcements =
            [announcement()] + presentPeers.compactMap(\.announcement).sorted { $0.name < $1.name }
        let plan = try Planner.plan(
            planRequest,
            nodes: announcements.map {
                PlannerNode(
                    id: $0.id, name: $0.name, availableBytes: $0.memoryAvailable, threadCount: $0.threadCount)
            })
        let order = InstanceOrder(
            id: .random(), model: model.reference, family: plan.family,
            stages: plan.stages.map {
                StageOrder(node: $0.node, nodeName: $0.nodeName, layers: $0.layers, weightBytes: $0.weightBytes)
            },
            contextTokenCount: planRequest.contextTokenCount, sequenceCountMax: planRequest.sequenceCount,
            createdUnixSeconds: UnixClock.seconds())
        return (plan, order)
    }
}
