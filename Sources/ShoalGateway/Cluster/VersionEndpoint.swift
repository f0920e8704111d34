import Hummingbird
import ShoalCore

/// `GET /shoal/v1/version`.
struct VersionEndpoint: Sendable {
    func show(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        .json([
            "version": .string(ShoalVersion.current),
            "protocol": .integer(Int(ShoalVersion.protocolNumber)),
        ])
    }
}
