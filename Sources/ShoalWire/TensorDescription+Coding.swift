internal import NIOCore
internal import ShoalCore

extension TensorDescription {
    /// A byte that says whether a tensor follows, then element type, rows and width.
    static func write(_ tensor: TensorDescription?, into buffer: inout ByteBuffer) {
        guard let tensor else {
            buffer.writeInteger(UInt8(0))
            return
        }
        buffer.writeInteger(UInt8(1))
        buffer.writeInteger(tensor.elementType.rawValue)
        buffer.writeInteger(tensor.rowCount)
        buffer.writeInteger(tensor.width)
    }

    static func read(from reader: inout FieldReader) throws(ShoalError) -> TensorDescription? {
        guard try reader.flag("tensor presence") else { return nil }
        let rawType = try reader.integer("element type", as: UInt8.self)
        guard let elementType = ElementType(rawValue: rawType) else {
            throw reader.violation("has an unknown element type, \(rawType)")
        }
        return TensorDescription(
            elementType: elementType, rowCount: try reader.integer("row count"), width: try reader.integer("width"))
    }

    /// Shape, element type and byte count must say the same; without a tensor there is no payload.
    static func check(
        _ tensor: TensorDescription?, rowCount: Int, payloadByteCount: Int, subject: String
    ) throws(ShoalError) {
        guard let tensor else {
            guard payloadByteCount == 0 else {
                throw ShoalError(
                    .protocolViolation, "\(subject) describes no tensor but has a payload of \(payloadByteCount) bytes")
            }
            return
        }
        guard tensor.rowCount == rowCount, tensor.width > 0 else {
            throw ShoalError(
                .protocolViolation,
                "\(subject) has a tensor of \(tensor.rowCount) x \(tensor.width) for \(rowCount) rows")
        }
        guard tensor.payloadByteCount == payloadByteCount else {
            throw ShoalError(
                .protocolViolation,
                "\(subject) has a tensor of \(tensor.rowCount) x \(tensor.width) \(tensor.elementType) "
                    + "and a payload of \(payloadByteCount) bytes, which disagree")
        }
    }
}
