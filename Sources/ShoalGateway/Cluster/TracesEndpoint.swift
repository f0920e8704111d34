import Hummingbird
import ShoalCore

/// `GET /shoal/v1/traces` and `/shoal/v1/traces/{request}`, where the request is named as in its answer's `id`, with or
/// without what stands in front of its number.
struct TracesEndpoint: Sendable {
    static let path = "/shoal/v1/traces"

    var cluster: any ClusterService

    func list(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try .json(report: try await cluster.traces(of: nil))
    }

    func show(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        let name = try request.pathSuffix(after: "\(TracesEndpoint.path)/")
        guard let id = ShoalCore.RequestID(name.split(separator: "-").last.map(String.init) ?? name) else {
            throw ShoalError(
                .invalidRequest,
                "\"\(name)\" is not the id of a request that the stages engine answered; those have ids such as "
                    + "chatcmpl-00000000000000ff")
        }
        guard let trace = try await cluster.traces(of: id).first else {
            throw ShoalError(.notFound, "there is no trace of request \(id)")
        }
        return try .json(report: trace)
    }
}
