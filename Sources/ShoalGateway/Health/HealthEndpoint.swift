import HTTPTypes
import Hummingbird
import ShoalCore

/// The answers of monitors and of people who look: none of them waits for a model.
struct HealthEndpoint: Sendable {
    static let detailPath = "/shoal/v1/health"

    var cluster: any ClusterService

    /// `GET /health` and its kin: this process answers.
    func health(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        .json(["status": "ok"])
    }

    /// `GET /shoal/v1/health`: 503 while a model that should run does not answer.
    func detail(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        let report = HealthReport(nodes: await cluster.nodes(), instances: await cluster.instances())
        return try .json(report: report, status: report.status == .ok ? .ok : .serviceUnavailable)
    }

    /// `GET /`.
    func banner(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        Response(
            status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: "Shoal \(ShoalVersion.current) is running\n")))
    }
}
