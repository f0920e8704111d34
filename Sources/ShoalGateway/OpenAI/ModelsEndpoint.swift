import Hummingbird
import ShoalCore

/// `GET /v1/models` and `GET /v1/models/{id}`: what answers now.
struct ModelsEndpoint: Sendable {
    static let path = "/v1/models"

    var inference: any InferenceService

    func list(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        let models = await inference.servedModels()
        return .json(["object": "list", "data": .array(models.map(\.json))])
    }

    /// The id may hold slashes, escaped or not.
    func retrieve(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        let name = try request.pathSuffix(after: "\(ModelsEndpoint.path)/")
        guard let model = await inference.servedModels().first(where: { $0.name == name }) else {
            throw ShoalError(
                .modelNotFound, "no instance serves the model \"\(name)\"; GET /v1/models lists those that do")
        }
        return .json(model.json)
    }
}

extension ServedModel {
    /// OpenAI's `model` object, with llama-server's name for the context.
    fileprivate var json: JSONValue {
        [
            "id": .string(name),
            "object": "model",
            "created": .integer(createdUnixSeconds),
            "owned_by": "shoal",
            "meta": ["n_ctx": .integer(contextTokenCount), "instance": .string(instance.description)],
        ]
    }
}
