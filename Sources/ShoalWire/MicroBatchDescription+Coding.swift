package import NIOCore
package import ShoalCore

extension MicroBatchDescription {
    /// Bytes of one entry: sequence, position, token, wants-output.
    static let entryByteCount = 13
    /// Bytes of the shortest KV operation.
    private static let kvOperationByteCountMin = 1
    private static let subject = "a micro-batch"

    /// The frame that carries this micro-batch; `payload` holds the activations (row-major, little-endian) or nothing.
    ///
    /// Throws `protocolViolation` when the receiver would refuse it: counts, negative positions, shape against payload.
    package func frame(
        flags: FrameFlags = [], instance: InstanceID, generation: UInt32, payload: ByteBuffer = ByteBuffer()
    ) throws(ShoalError) -> Frame {
        let frame = Frame(
            kind: .microBatch, flags: stages.isEmpty ? flags : flags.union(.hasTimes), instance: instance,
            generation: generation, number: batch.number,
            description: encoded(), payload: payload)
        // Reading our own frame costs microseconds and keeps a wrong batch of ours from costing a peer its link.
        _ = try MicroBatchDescription(decoding: frame)
        return frame
    }

    /// Reads a `microBatch` frame. Throws `protocolViolation`; never trusts a count before the bytes are there.
    package init(decoding frame: Frame) throws(ShoalError) {
        var reader = FieldReader(frame.description, subject: Self.subject)
        let operations = try Self.readOperations(from: &reader)
        let entryCount = try Self.readEntryCount(from: &reader)
        var entries: [BatchEntry] = []
        entries.reserveCapacity(entryCount)
        for _ in 0..<entryCount { entries.append(try BatchEntry.read(from: &reader)) }
        let activations = try TensorDescription.read(from: &reader)
        let stages = try StageTimes.readAll(from: &reader)
        try reader.finish()
        try TensorDescription.check(
            activations, rowCount: entries.count, payloadByteCount: frame.payload.readableBytes, subject: Self.subject)
        self.init(
            batch: MicroBatch(number: frame.number, kvOperations: operations, entries: entries),
            activations: activations, stages: stages)
    }

    /// How many entries a `microBatch` frame says it has, without reading them; nil when it cannot be read.
    package static func entryCount(of frame: Frame) -> Int? {
        do throws(ShoalError) {
            var reader = FieldReader(frame.description, subject: subject)
            _ = try readOperations(from: &reader)
            return try readEntryCount(from: &reader)
        } catch {
            return nil
        }
    }

    private static func readOperations(from reader: inout FieldReader) throws(ShoalError) -> [KVOperation] {
        let count = try reader.count(
            "KV operation count", limit: Limits.kvOperationCountMax, elementByteCountMin: kvOperationByteCountMin)
        var operations: [KVOperation] = []
        operations.reserveCapacity(count)
        for _ in 0..<count { operations.append(try KVOperation.read(from: &reader)) }
        return operations
    }

    private static func readEntryCount(from reader: inout FieldReader) throws(ShoalError) -> Int {
        try reader.count("entry count", limit: Limits.microBatchTokenCountMax, elementByteCountMin: entryByteCount)
    }

    private func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(
            32 + batch.kvOperations.count * 17 + batch.entries.count * Self.entryByteCount
                + stages.count * StageTimes.byteCount)
        buffer.writeInteger(UInt32(clamping: batch.kvOperations.count))
        for operation in batch.kvOperations { operation.write(into: &buffer) }
        buffer.writeInteger(UInt32(clamping: batch.entries.count))
        for entry in batch.entries { entry.write(into: &buffer) }
        TensorDescription.write(activations, into: &buffer)
        StageTimes.write(stages, into: &buffer)
        return buffer
    }
}

extension BatchEntry {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeInteger(sequence.rawValue)
        buffer.writeInteger(position)
        buffer.writeInteger(token.rawValue)
        buffer.writeInteger(UInt8(wantsOutput ? 1 : 0))
    }

    fileprivate static func read(from reader: inout FieldReader) throws(ShoalError) -> BatchEntry {
        BatchEntry(
            sequence: try reader.sequence("entry sequence"), position: try reader.natural("entry position"),
            token: TokenID(rawValue: try reader.natural("entry token")),
            wantsOutput: try reader.flag("entry output flag"))
    }
}

extension KVOperation {
    private enum Opcode: UInt8 {
        case remove = 1
        case copy = 2
        case keep = 3
        case clear = 4
    }

    fileprivate func write(into buffer: inout ByteBuffer) {
        switch self {
        case .remove(let sequence, let from, let to):
            buffer.writeInteger(Opcode.remove.rawValue)
            buffer.writeInteger(sequence.rawValue)
            buffer.writeInteger(from)
            buffer.writeInteger(to)
        case .copy(let source, let destination, let from, let to):
            buffer.writeInteger(Opcode.copy.rawValue)
            buffer.writeInteger(source.rawValue)
            buffer.writeInteger(destination.rawValue)
            buffer.writeInteger(from)
            buffer.writeInteger(to)
        case .keep(let sequence):
            buffer.writeInteger(Opcode.keep.rawValue)
            buffer.writeInteger(sequence.rawValue)
        case .clear:
            buffer.writeInteger(Opcode.clear.rawValue)
        }
    }

    fileprivate static func read(from reader: inout FieldReader) throws(ShoalError) -> KVOperation {
        let rawOpcode = try reader.integer("KV operation", as: UInt8.self)
        switch Opcode(rawValue: rawOpcode) {
        case .remove:
            let sequence = try reader.sequence("KV sequence")
            let (from, to) = try readRange(from: &reader)
            return .remove(sequence, from: from, to: to)
        case .copy:
            let source = try reader.sequence("KV source")
            let destination = try reader.sequence("KV destination")
            let (from, to) = try readRange(from: &reader)
            return .copy(source: source, destination: destination, from: from, to: to)
        case .keep: return .keep(try reader.sequence("KV sequence"))
        case .clear: return .clear
        case nil: throw reader.violation("has an unknown KV operation, \(rawOpcode)")
        }
    }

    private static func readRange(from reader: inout FieldReader) throws(ShoalError) -> (Int32, Int32) {
        let from = try reader.natural("KV range start")
        let to = try reader.natural("KV range end")
        guard from <= to else { throw reader.violation("has a KV range that ends at \(to), before its start \(from)") }
        return (from, to)
    }
}
