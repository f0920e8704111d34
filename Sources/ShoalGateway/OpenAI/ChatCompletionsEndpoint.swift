import Hummingbird
import ShoalCore

/// `POST /v1/chat/completions`.
struct ChatCompletionsEndpoint: Sendable {
    var responder: AnswerResponder

    func create(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        var request = request
        let body = try ChatCompletionRequest(await request.takeJSON())
        return try await responder.respond(
            to: request, options: body.options, inputs: [.chat(body.messages)], dialect: ChatDialect())
    }
}
