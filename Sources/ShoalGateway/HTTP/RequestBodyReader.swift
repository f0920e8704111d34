import HTTPTypes
import Hummingbird
import NIOCore
import ShoalCore

extension Request {
    /// The body as JSON.
    ///
    /// Throws `.requestTooLarge` before reading anything if the client announces too much, and as soon as too much has
    /// come otherwise; `.invalidRequest` with line and column if it is not JSON. The body is taken out of the request,
    /// which then can be watched for the end of its connection.
    mutating func takeJSON() async throws -> JSONValue {
        let limit = Limits.requestBodyByteCountMax
        if let length = headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw RequestError(.requestTooLarge, "the request body has \(length) bytes; at most \(limit) are accepted")
        }
        var buffer = ByteBuffer()
        for try await part in body {
            guard buffer.readableBytes + part.readableBytes <= limit else {
                throw RequestError(.requestTooLarge, "the request body has more than the accepted \(limit) bytes")
            }
            buffer.writeImmutableBuffer(part)
        }
        // Hummingbird watches a connection behind a body only if the body was replaced after it was read.
        body = RequestBody(buffer: ByteBuffer())
        do {
            return try JSONParser.parse(Array(buffer.readableBytesView))
        } catch {
            throw RequestError(.invalidRequest, "the request body is not valid JSON: \(error)")
        }
    }

    /// The part of the path after `prefix`, percent-decoded, so that names may hold slashes either way.
    func pathSuffix(after prefix: String) throws(RequestError) -> String {
        let encoded = uri.path.dropFirst(prefix.count)
        guard let decoded = percentDecoded(encoded), !decoded.isEmpty else {
            throw RequestError(.invalidRequest, "\"\(encoded)\" in the path is not valid percent-encoded UTF-8")
        }
        return decoded
    }
}

extension Response {
    /// Closes the connection after this response instead of reading a refused body to its end.
    mutating func refuseRestOfBody(of request: Request) {
        headers[.connection] = "close"
        let whole = body
        let announced = request.headers[.contentLength].flatMap { Int($0) } ?? .max
        guard announced > GatewayLimits.refusedBodyByteCountMax else { return }
        body = ResponseBody(contentLength: whole.contentLength) { writer in
            try await whole.write(RefusingWriter(base: writer))
            // Ends the connection: Hummingbird would otherwise read and drop the body, however long it is.
            throw RequestError(.requestTooLarge, "the rest of the request body is not read")
        }
    }
}

/// Passes on to the writer of the connection, which a body closure can only borrow.
private struct RefusingWriter: ResponseBodyWriter {
    var base: any ResponseBodyWriter

    @concurrent mutating func write(_ buffer: ByteBuffer) async throws { try await base.write(buffer) }

    @concurrent consuming func finish(_ trailingHeaders: HTTPFields?) async throws {
        try await base.finish(trailingHeaders)
    }
}

/// Nil if an escape is broken or the result is not UTF-8.
func percentDecoded(_ text: some StringProtocol) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8.makeIterator()
    while let byte = rest.next() {
        guard byte == UInt8(ascii: "%") else {
            bytes.append(byte)
            continue
        }
        guard let high = rest.next().flatMap(hexadecimalValue), let low = rest.next().flatMap(hexadecimalValue) else {
            return nil
        }
        bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
}

private func hexadecimalValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
}
