import Hummingbird
import ShoalCore

/// The table of everything that the server answers.
struct Routes {
    typealias Handler = @Sendable (Request, GatewayRequestContext) async throws -> Response

    var responder: AnswerResponder
    var inference: any InferenceService
    var cluster: any ClusterService

    /// Every path of the table answers other methods with 405, every other path with 404, both in JSON.
    func makeRouter() -> Router<GatewayRequestContext> {
        let router = Router(context: GatewayRequestContext.self)
        router.add(middleware: ErrorMiddleware())
        router.add(middleware: ProxyMiddleware(cluster: cluster, proxy: ServerProxy(cluster: cluster)))
        addHealth(to: router)
        addOpenAI(to: router)
        addCluster(to: router)
        return router
    }

    private func addHealth(to router: Router<GatewayRequestContext>) {
        let health = HealthEndpoint(cluster: cluster)
        add("/", [.get: health.banner], to: router)
        for path in ["/health", "/v1/health", "/healthz", "/readyz", "/livez"] {
            add(path, [.get: health.health], to: router)
        }
        add(HealthEndpoint.detailPath, [.get: health.detail], to: router)
    }

    private func addOpenAI(to router: Router<GatewayRequestContext>) {
        let models = ModelsEndpoint(inference: inference)
        add("/v1/chat/completions", [.post: ChatCompletionsEndpoint(responder: responder).create], to: router)
        add("/v1/completions", [.post: CompletionsEndpoint(responder: responder).create], to: router)
        add(ModelsEndpoint.path, [.get: models.list], to: router)
        add("\(ModelsEndpoint.path)/**", [.get: models.retrieve], to: router)
    }

    private func addCluster(to router: Router<GatewayRequestContext>) {
        let instances = InstancesEndpoint(cluster: cluster)
        add("/shoal/v1/version", [.get: VersionEndpoint().show], to: router)
        add("/shoal/v1/nodes", [.get: NodesEndpoint(cluster: cluster).list], to: router)
        let links = LinksEndpoint(cluster: cluster)
        add("/shoal/v1/links", [.get: links.list], to: router)
        add("/shoal/v1/doctor", [.get: links.diagnose], to: router)
        add("\(LogsEndpoint.path)/**", [.get: LogsEndpoint(cluster: cluster).show], to: router)
        let traces = TracesEndpoint(cluster: cluster)
        add(TracesEndpoint.path, [.get: traces.list], to: router)
        add("\(TracesEndpoint.path)/**", [.get: traces.show], to: router)
        add("/shoal/v1/plan", [.post: PlanEndpoint(cluster: cluster).create], to: router)
        add(InstancesEndpoint.path, [.get: instances.list, .post: instances.create], to: router)
        add("\(InstancesEndpoint.path)/**", [.get: instances.show, .delete: instances.stop], to: router)
        addMembership(to: router)
    }

    private func addMembership(to router: Router<GatewayRequestContext>) {
        let members = MembersEndpoint(cluster: cluster)
        let invites = InvitesEndpoint(cluster: cluster)
        add(MembersEndpoint.path, [.get: members.list], to: router)
        add("\(MembersEndpoint.path)/**", [.delete: members.forget], to: router)
        add(InvitesEndpoint.path, [.get: invites.list, .post: invites.create], to: router)
        add("\(InvitesEndpoint.path)/**", [.delete: invites.revoke], to: router)
        add(JoinEndpoint.path, [.post: JoinEndpoint(cluster: cluster).create], to: router)
    }

    /// Methods that clients send; a path answers those it does not have with 405 and the ones it has.
    private static let knownMethods: [HTTPRequest.Method] = [.get, .head, .post, .put, .patch, .delete, .options]

    private func add(
        _ path: String, _ handlers: [HTTPRequest.Method: Handler], to router: Router<GatewayRequestContext>
    ) {
        var handlers = handlers
        if let get = handlers[.get] {
            handlers[.head] = { request, context in try await get(request, context).createHeadResponse() }
        }
        let allowed = handlers.keys.map(\.rawValue).sorted().joined(separator: ", ")
        for method in Routes.knownMethods {
            let handler =
                handlers[method] ?? { request, _ in
                    throw RequestError(.methodNotAllowed, "\(path) answers \(allowed), not \(request.method.rawValue)")
                }
            router.on(RouterPath(path), method: method, use: handler)
        }
    }
}
