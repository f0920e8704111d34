import HTTPTypes
import Hummingbird
import ShoalCore

/// `/shoal/v1/instances` and `/shoal/v1/instances/{id}`, where the id may be a model name that one instance serves.
struct InstancesEndpoint: Sendable {
    static let path = "/shoal/v1/instances"

    var cluster: any ClusterService

    func list(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try .json(report: await cluster.instances())
    }

    /// 202: the instance exists and its report tells how far it is.
    func create(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        var request = request
        let load = try LoadRequest(await request.takeJSON())
        return try .json(report: await cluster.load(load), status: .accepted)
    }

    func show(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        try .json(report: await instance(in: request))
    }

    /// The last report, from before the instance was stopped.
    func stop(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        let instance = try await instance(in: request)
        try await cluster.stop(instance.id)
        return try .json(report: instance)
    }

    private func instance(in request: Request) async throws -> InstanceReport {
        let name = try request.pathSuffix(after: "\(InstancesEndpoint.path)/")
        let instances = await cluster.instances()
        if let id = InstanceID(name), let instance = instances.first(where: { $0.id == id }) { return instance }
        let matches = instances.filter { $0.model == name && $0.phase != .stopped }
        guard let match = matches.first else {
            throw ShoalError(.notFound, "there is no instance \"\(name)\", neither by id nor by model name")
        }
        guard matches.count == 1 else {
            let ids = matches.map(\.id.description).joined(separator: ", ")
            throw ShoalError(
                .invalidRequest, "\(matches.count) instances serve \"\(name)\": \(ids); name one by its id")
        }
        return match
    }
}
