import Hummingbird
import ShoalCore

/// `GET /shoal/v1/links` and `GET /shoal/v1/doctor`.
struct LinksEndpoint: Sendable {
    var cluster: any ClusterService

    func list(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try .json(report: try await cluster.links())
    }

    func diagnose(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try .json(report: try await cluster.doctor())
    }
}
