import Hummingbird

/// `POST /v1/completions`.
struct CompletionsEndpoint: Sendable {
    var responder: AnswerResponder

    func create(_ request: Request, _ context: GatewayRequestContext) async throws -> Response {
        var request = request
        let body = try CompletionRequest(await request.takeJSON())
        let echoes = body.echoes.flatMap { Array(repeating: $0, count: body.options.answerCount) }
        return try await responder.respond(
            to: request, options: body.options, inputs: body.prompts, dialect: CompletionDialect(echoes: echoes))
    }
}
