import Hummingbird
import ShoalCore

/// `GET /shoal/v1/nodes`.
struct NodesEndpoint: Sendable {
    var cluster: any ClusterService

    func list(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try .json(report: await cluster.nodes())
    }
}
