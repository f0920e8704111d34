package import NIOCore
package import ShoalCore

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// JSON descriptions: the control plane's and the engine's.
package enum FrameJSON {
    /// Keys are sorted, so equal values give equal bytes. Throws `internal` when the value cannot be written as JSON or
    /// exceeds `Limits.frameDescriptionByteCountMax`.
    package static func encode(_ value: some Encodable) throws(ShoalError) -> ByteBuffer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let data: Data
        do {
            data = try encoder.encode(value)
        } catch {
            throw ShoalError(.internal, "\(type(of: value)) cannot be written as JSON: \(error)")
        }
        guard data.count <= Limits.frameDescriptionByteCountMax else {
            throw ShoalError(
                .internal,
                "\(type(of: value)) takes \(data.count) bytes as JSON; "
                    + "the limit is \(Limits.frameDescriptionByteCountMax)")
        }
        return ByteBuffer(bytes: data)
    }

    /// Throws `protocolViolation` naming the type and the place in the JSON that does not fit.
    package static func decode<Value: Decodable>(
        _ type: Value.Type = Value.self, from buffer: ByteBuffer
    ) throws(ShoalError) -> Value {
        guard buffer.readableBytes <= Limits.frameDescriptionByteCountMax else {
            throw ShoalError(
                .protocolViolation,
                "JSON of \(buffer.readableBytes) bytes for \(type); the limit is \(Limits.frameDescriptionByteCountMax)"
            )
        }
        do {
            return try JSONDecoder().decode(type, from: Data(buffer.readableBytesView))
        } catch let error as DecodingError {
            throw ShoalError(.protocolViolation, "JSON that is no \(type): \(sentence(error))")
        } catch {
            throw ShoalError(.protocolViolation, "JSON that is no \(type): \(error)")
        }
    }

    private static func sentence(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, let context):
            "\(path(context.codingPath)) has no \"\(key.stringValue)\""
        case .valueNotFound(_, let context), .typeMismatch(_, let context), .dataCorrupted(let context):
            "\(path(context.codingPath)): \(context.debugDescription)"
        @unknown default:
            "\(error)"
        }
    }

    private static func path(_ keys: [any CodingKey]) -> String {
        keys.isEmpty ? "the value" : keys.map(\.stringValue).joined(separator: ".")
    }
}
