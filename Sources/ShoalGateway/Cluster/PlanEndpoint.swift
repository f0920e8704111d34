import Hummingbird
import ShoalCore

/// `POST /shoal/v1/plan`: where a model would go, without loading it.
struct PlanEndpoint: Sendable {
    var cluster: any ClusterService

    func create(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        var request = request
        let load = try LoadRequest(await request.takeJSON())
        return try .json(report: await cluster.plan(load))
    }
}
