import HTTPTypes
import Hummingbird
import ShoalCore

/// The answers of monitors and of people who look: none of them waits for a model.
struct HealthEndpoint: Sendable {
    /// `GET /health` and its kin: this process answers.
    func health(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        .json(["status": "ok"])
    }

    /// `GET /`.
    func banner(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        Response(
            status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: "Shoal \(ShoalVersion.current) is running\n")))
    }
}
