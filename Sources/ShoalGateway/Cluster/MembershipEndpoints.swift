import HTTPTypes
import Hummingbird
import ShoalCore

/// `/shoal/v1/members` and `/shoal/v1/members/{id or name}`.
struct MembersEndpoint: Sendable {
    static let path = "/shoal/v1/members"

    var cluster: any ClusterService

    func list(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try .json(report: await cluster.members())
    }

    /// For good.
    func forget(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try LocalAccess.require(request, context)
        return try .json(report: await cluster.forget(request.pathSuffix(after: "\(MembersEndpoint.path)/")))
    }
}

/// `/shoal/v1/invites` and `/shoal/v1/invites/{id}`.
struct InvitesEndpoint: Sendable {
    static let path = "/shoal/v1/invites"

    var cluster: any ClusterService

    func list(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try .json(report: await cluster.invites())
    }

    /// 201, with the code. The body may be `{"lifetimeSeconds": N}`.
    func create(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try LocalAccess.require(request, context)
        var request = request
        let fields = try RequestFields(await request.takeJSON())
        let lifetime = try fields.integer("lifetimeSeconds", in: 1...Limits.inviteLifetimeSecondsMax)
        return try .json(report: await cluster.invite(lifetimeSeconds: lifetime), status: .created)
    }

    func revoke(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try LocalAccess.require(request, context)
        return try .json(report: await cluster.revokeInvite(request.pathSuffix(after: "\(InvitesEndpoint.path)/")))
    }
}

/// `POST /shoal/v1/join` with `{"code": "…"}`.
struct JoinEndpoint: Sendable {
    static let path = "/shoal/v1/join"

    var cluster: any ClusterService

    func create(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try LocalAccess.require(request, context)
        var request = request
        let fields = try RequestFields(await request.takeJSON())
        return try .json(report: await cluster.join(fields.requiredString("code")))
    }
}

/// Who belongs to the cluster is decided on its machines, not by whoever reaches an API or by a page in a browser
/// there.
enum LocalAccess {
    /// Throws `notAMember` unless the client is on this machine and no web page.
    static func require(_ request: Request, _ context: GatewayRequestContext) throws(RequestError) {
        guard context.isLocal else {
            throw RequestError(
                .notAMember, "\(request.uri.path) is answered to clients on the node's own machine only")
        }
        // Browsers name the page that sends; programs do not. A page could otherwise invite itself.
        guard request.headers[.origin] == nil else {
            throw RequestError(.notAMember, "\(request.uri.path) is not answered to web pages")
        }
    }
}
