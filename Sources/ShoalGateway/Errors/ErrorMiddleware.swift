import HTTPTypes
import Hummingbird
import Logging
import ShoalCore

/// Turns whatever an endpoint throws into OpenAI-shaped JSON.
struct ErrorMiddleware: RouterMiddleware {
    typealias Context = GatewayRequestContext

    func handle(
        _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            let failure = ErrorMiddleware.requestError(error, path: request.uri.path)
            let status = ErrorTable.row(for: failure.error.code).status
            if status.kind == .serverError {
                context.logger.warning(
                    "request failed",
                    metadata: ["http.path": "\(request.uri.path)", "error.code": "\(failure.error.code)"])
            }
            var response = ErrorMiddleware.response(to: failure, request: request)
            if error is SpentConnectionError { response.headers[.connection] = "close" }
            return response
        }
    }

    /// The failure in the gateway's words.
    static func requestError(_ error: any Error, path: String) -> RequestError {
        switch error {
        case let error as SpentConnectionError: requestError(error.cause, path: path)
        case let error as RequestError: error
        case let error as ShoalError:
            RequestError(error, param: error.code == .modelNotFound ? "model" : nil)
        case let error as HTTPError where error.status == .notFound:
            RequestError(.notFound, "there is nothing at \(path)")
        case let error as HTTPError where error.status.kind == .clientError:
            RequestError(.invalidRequest, error.body ?? "the request cannot be understood")
        case is CancellationError: RequestError(.cancelled, "the client went away")
        default: RequestError(.internal, "unexpected failure: \(error)")
        }
    }

    private static func response(to failure: RequestError, request: Request) -> Response {
        var response = Response.json(ErrorTable.json(failure), status: ErrorTable.row(for: failure.error.code).status)
        if failure.error.code == .overloaded { response.headers[.retryAfter] = "1" }
        if failure.error.code == .requestTooLarge { response.refuseRestOfBody(of: request) }
        return response
    }
}
