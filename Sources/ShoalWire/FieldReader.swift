internal import NIOCore
internal import ShoalCore

/// Reads big-endian fields out of a description and names the field and the offset when the bytes do not fit.
struct FieldReader {
    private var buffer: ByteBuffer
    private let subject: String
    private let start: Int

    /// `subject` begins every error message: "a micro-batch description".
    init(_ buffer: ByteBuffer, subject: String) {
        self.buffer = buffer
        self.subject = subject
        start = buffer.readerIndex
    }

    private var offset: Int { buffer.readerIndex - start }

    mutating func integer<Integer: FixedWidthInteger>(
        _ field: StaticString, as type: Integer.Type = Integer.self
    ) throws(ShoalError) -> Integer {
        guard let value = buffer.readInteger(endianness: .big, as: type) else { throw truncated(field) }
        return value
    }

    /// An integer that must not be negative: positions, sequences, tokens.
    mutating func natural(_ field: StaticString) throws(ShoalError) -> Int32 {
        let value = try integer(field, as: Int32.self)
        guard value >= 0 else { throw violation("has a negative \(field), \(value)") }
        return value
    }

    /// A sequence, which is below `Limits.sequenceCountMax`.
    mutating func sequence(_ field: StaticString) throws(ShoalError) -> SequenceID {
        let value = try natural(field)
        guard value < Limits.sequenceCountMax else {
            throw violation("has \(field) \(value); the limit is \(Limits.sequenceCountMax - 1)")
        }
        return SequenceID(rawValue: value)
    }

    /// One byte that is 0 or 1.
    mutating func flag(_ field: StaticString) throws(ShoalError) -> Bool {
        let value = try integer(field, as: UInt8.self)
        guard value <= 1 else { throw violation("has \(field) \(value), which is neither 0 nor 1") }
        return value == 1
    }

    /// The number of elements of a list: at most `limit`, and no more than the bytes that follow can hold, so that
    /// nothing is reserved on a stranger's word.
    mutating func count(_ field: StaticString, limit: Int, elementByteCountMin: Int) throws(ShoalError) -> Int {
        let value = Int(try integer(field, as: UInt32.self))
        guard value <= limit else { throw violation("has \(field) \(value); the limit is \(limit)") }
        guard value <= buffer.readableBytes / elementByteCountMin else {
            throw violation("has \(field) \(value), more than its \(buffer.readableBytes) remaining bytes can hold")
        }
        return value
    }

    mutating func bytes(_ field: StaticString, count: Int) throws(ShoalError) -> [UInt8] {
        guard let bytes = buffer.readBytes(length: count) else { throw truncated(field) }
        return bytes
    }

    /// Refuses bytes after the last field.
    func finish() throws(ShoalError) {
        guard buffer.readableBytes == 0 else {
            throw violation("has \(buffer.readableBytes) bytes after its last field, at offset \(offset)")
        }
    }

    func violation(_ problem: String) -> ShoalError { ShoalError(.protocolViolation, "\(subject) \(problem)") }

    private func truncated(_ field: StaticString) -> ShoalError {
        violation("ends inside \(field), at offset \(offset) with \(buffer.readableBytes) bytes left")
    }
}
