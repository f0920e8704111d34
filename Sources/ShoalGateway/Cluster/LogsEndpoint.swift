import Hummingbird
import ShoalCore

/// `GET /shoal/v1/logs/{node or instance}`: a node by name or id, an instance by id or model name.
struct LogsEndpoint: Sendable {
    static let path = "/shoal/v1/logs"

    var cluster: any ClusterService

    func show(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        let name = try request.pathSuffix(after: "\(LogsEndpoint.path)/")
        return try .json(report: try await cluster.engineLogs(of: name))
    }
}
