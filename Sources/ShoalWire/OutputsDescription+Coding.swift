package import NIOCore
package import ShoalCore

extension OutputsDescription {
    /// The longest text of one token; the field is 16 bits wide.
    package static let pieceByteCountMax = Int(UInt16.max)
    /// Bytes of a token without text: sequence, token, end flag, piece size.
    private static let tokenByteCountMin = 11
    private static let subject = "an outputs frame"

    /// The answer to the micro-batch `number`; `payload` holds the logits (float32, row-major, little-endian) or
    /// nothing.
    ///
    /// Throws `protocolViolation` when the receiver would refuse it.
    package func frame(
        number: UInt64, instance: InstanceID, generation: UInt32, payload: ByteBuffer = ByteBuffer()
    ) throws(ShoalError) -> Frame {
        if let long = tokens.first(where: { $0.piece.count > Self.pieceByteCountMax }) {
            throw ShoalError(.protocolViolation, "token \(long.token) has a text of \(long.piece.count) bytes")
        }
        let frame = Frame(
            kind: .outputs, flags: stages.isEmpty ? [] : .hasTimes, instance: instance, generation: generation,
            number: number, description: encoded(),
            payload: payload)
        _ = try OutputsDescription(decoding: frame)
        return frame
    }

    /// Reads an `outputs` frame. Throws `protocolViolation`.
    package init(decoding frame: Frame) throws(ShoalError) {
        var reader = FieldReader(frame.description, subject: Self.subject)
        let tokenCount = try reader.count(
            "token count", limit: Limits.microBatchTokenCountMax, elementByteCountMin: Self.tokenByteCountMin)
        var tokens: [SampledToken] = []
        tokens.reserveCapacity(tokenCount)
        for _ in 0..<tokenCount { tokens.append(try SampledToken.read(from: &reader)) }
        let logits = try TensorDescription.read(from: &reader)
        let stages = try StageTimes.readAll(from: &reader)
        try reader.finish()
        try TensorDescription.check(
            logits, rowCount: tokens.count, payloadByteCount: frame.payload.readableBytes, subject: Self.subject)
        guard logits == nil || logits?.elementType == .float32 else {
            throw reader.violation("has logits that are not float32")
        }
        self.init(tokens: tokens, logits: logits, stages: stages)
    }

    private func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt32(clamping: tokens.count))
        for token in tokens { token.write(into: &buffer) }
        TensorDescription.write(logits, into: &buffer)
        StageTimes.write(stages, into: &buffer)
        return buffer
    }
}

extension SampledToken {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeInteger(sequence.rawValue)
        buffer.writeInteger(token.rawValue)
        buffer.writeInteger(UInt8(isEndOfGeneration ? 1 : 0))
        buffer.writeInteger(UInt16(clamping: piece.count))
        buffer.writeBytes(piece)
    }

    fileprivate static func read(from reader: inout FieldReader) throws(ShoalError) -> SampledToken {
        let sequence = try reader.sequence("token sequence")
        let token = TokenID(rawValue: try reader.natural("token"))
        let isEnd = try reader.flag("end flag")
        let pieceByteCount = Int(try reader.integer("piece size", as: UInt16.self))
        let piece = try reader.bytes("piece", count: pieceByteCount)
        return SampledToken(sequence: sequence, token: token, piece: piece, isEndOfGeneration: isEnd)
    }
}
