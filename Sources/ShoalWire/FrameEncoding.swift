package import NIOCore
package import ShoalCore

extension Frame {
    /// Header and description in one buffer; `payload` follows it on the wire as it is, without a copy.
    ///
    /// Throws `internal` when a part is larger than the receiver would accept (`Limits.frame…ByteCountMax`).
    package func encodedHead() throws(ShoalError) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(FrameHeader.byteCount + description.readableBytes)
        try writeHead(into: &buffer)
        return buffer
    }

    private static let copiedPayloadByteCountMax = 64 << 10

    /// What goes over the wire, in order: one buffer when the payload is small, because copying it costs less than
    /// another TLS record or system call; else `encodedHead` and the payload.
    ///
    /// Throws as `encodedHead`.
    package func encodedPieces() throws(ShoalError) -> (first: ByteBuffer, rest: ByteBuffer?) {
        if payload.readableBytes <= Self.copiedPayloadByteCountMax { return (try encoded(), nil) }
        return (try encodedHead(), payload)
    }

    /// The whole frame in one buffer, for callers that write with a plain `write(2)`. Copies the payload.
    package func encoded() throws(ShoalError) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(byteCount)
        try writeHead(into: &buffer)
        buffer.writeImmutableBuffer(payload)
        return buffer
    }

    private func writeHead(into buffer: inout ByteBuffer) throws(ShoalError) {
        try requireSendable()
        buffer.writeInteger(FrameHeader.magic)
        buffer.writeInteger(ShoalVersion.protocolNumber)
        buffer.writeInteger(kind.rawValue)
        buffer.writeInteger(flags.rawValue)
        buffer.writeInteger(instance.rawValue)
        buffer.writeInteger(generation)
        buffer.writeInteger(number)
        buffer.writeInteger(UInt32(description.readableBytes))
        buffer.writeInteger(UInt32(payload.readableBytes))
        buffer.writeImmutableBuffer(description)
    }

    private func requireSendable() throws(ShoalError) {
        guard description.readableBytes <= Limits.frameDescriptionByteCountMax else {
            throw tooLarge("description", description.readableBytes, Limits.frameDescriptionByteCountMax)
        }
        guard payload.readableBytes <= Limits.framePayloadByteCountMax else {
            throw tooLarge("payload", payload.readableBytes, Limits.framePayloadByteCountMax)
        }
    }

    private func tooLarge(_ part: String, _ byteCount: Int, _ limit: Int) -> ShoalError {
        ShoalError(.internal, "a \(kind) frame's \(part) of \(byteCount) bytes exceeds the limit of \(limit) bytes")
    }
}
