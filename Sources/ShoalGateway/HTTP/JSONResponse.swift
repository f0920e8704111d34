import HTTPTypes
import Hummingbird
import NIOCore
import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

extension Response {
    /// A JSON document.
    static func json(_ value: JSONValue, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]) -> Response {
        json(ByteBuffer(string: value.text), status: status, headers: headers)
    }

    /// A report in JSON, members sorted by name.
    static func json(report: some Encodable, status: HTTPResponse.Status = .ok) throws(ShoalError) -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return json(ByteBuffer(bytes: try encoder.encode(report)), status: status, headers: [:])
        } catch {
            throw ShoalError(.internal, "a report cannot be written as JSON: \(error)")
        }
    }

    private static func json(_ body: ByteBuffer, status: HTTPResponse.Status, headers: HTTPFields) -> Response {
        var headers = headers
        headers[.contentType] = "application/json; charset=utf-8"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: body))
    }
}
