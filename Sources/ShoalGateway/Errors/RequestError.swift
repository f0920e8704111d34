import ShoalCore

/// A failure on its way to a client, with the request field that caused it where there is one.
struct RequestError: Error, Equatable {
    var error: ShoalError
    /// OpenAI's `param`.
    var param: String?

    init(_ error: ShoalError, param: String? = nil) {
        self.error = error
        self.param = param
    }

    init(_ code: ShoalError.Code, _ message: String, param: String? = nil) {
        self.init(ShoalError(code, message), param: param)
    }
}

/// A failure after the connection was watched for the client's going, which consumes what follows the request: it
/// cannot be used again.
struct SpentConnectionError: Error {
    var cause: any Error
}

extension ShoalError.Code {
    /// The request body is longer than `Limits.requestBodyByteCountMax`.
    static let requestTooLarge = ShoalError.Code(rawValue: "request_too_large")
    /// The path exists, but not for this method.
    static let methodNotAllowed = ShoalError.Code(rawValue: "method_not_allowed")
}
