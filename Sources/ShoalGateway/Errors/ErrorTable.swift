import HTTPTypes
import ShoalCore

/// The one place that says which HTTP status and which OpenAI error type a failure has.
///
/// OpenAI's clients retry 408, 409, 429 and everything from 500 on, so only failures that may pass have such a status.
enum ErrorTable {
    /// One row.
    struct Row: Equatable {
        var status: HTTPResponse.Status
        /// OpenAI's `error.type`.
        var type: String
    }

    /// Of codes that are not in the table, such as those of newer peers.
    static let fallback = Row(status: .internalServerError, type: "server_error")

    /// Of `code`.
    static func row(for code: ShoalError.Code) -> Row { rows[code] ?? fallback }

    private static let clientClosedRequest = HTTPResponse.Status(code: 499, reasonPhrase: "Client Closed Request")

    static let rows: [ShoalError.Code: Row] = [
        .invalidRequest: Row(status: .badRequest, type: "invalid_request_error"),
        .contextOverflow: Row(status: .badRequest, type: "invalid_request_error"),
        .requestTooLarge: Row(status: .contentTooLarge, type: "invalid_request_error"),
        .modelNotFound: Row(status: .notFound, type: "invalid_request_error"),
        .notFound: Row(status: .notFound, type: "invalid_request_error"),
        .methodNotAllowed: Row(status: .methodNotAllowed, type: "invalid_request_error"),
        .fileUnreadable: Row(status: .unprocessableContent, type: "invalid_request_error"),
        .malformedModel: Row(status: .unprocessableContent, type: "invalid_request_error"),
        .unsupportedFamily: Row(status: .unprocessableContent, type: "invalid_request_error"),
        .invalidPlacement: Row(status: .unprocessableContent, type: "invalid_request_error"),
        .insufficientMemory: Row(status: .unprocessableContent, type: "invalid_request_error"),
        .overloaded: Row(status: .serviceUnavailable, type: "overloaded_error"),
        .unavailable: Row(status: .serviceUnavailable, type: "server_error"),
        .linkLost: Row(status: .serviceUnavailable, type: "server_error"),
        .engineLost: Row(status: .serviceUnavailable, type: "server_error"),
        .timedOut: Row(status: .gatewayTimeout, type: "server_error"),
        .protocolViolation: Row(status: .badGateway, type: "server_error"),
        .notAMember: Row(status: .forbidden, type: "permission_error"),
        .addressUnusable: fallback,
        .internal: fallback,
        .cancelled: Row(status: clientClosedRequest, type: "server_error"),
    ]

    /// `{"error": {...}}` as OpenAI writes it.
    static func json(_ failure: RequestError) -> JSONValue {
        [
            "error": [
                "message": .string(failure.error.message),
                "type": .string(row(for: failure.error.code).type),
                "code": .string(failure.error.code.rawValue),
                "param": failure.param.map(JSONValue.string) ?? .null,
            ]
        ]
    }
}
