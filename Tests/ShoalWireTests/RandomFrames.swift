import NIOCore
import ShoalCore
import ShoalWire

extension SeededRandom {
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &self) }
    }

    mutating func sequence() -> SequenceID {
        SequenceID(rawValue: .random(in: 0..<Int32(Limits.sequenceCountMax), using: &self))
    }

    mutating func frame() -> Frame {
        Frame(
            kind: FrameKind.allCases.randomElement(using: &self) ?? .ping,
            flags: FrameFlags(rawValue: .random(in: .min ... .max, using: &self)),
            instance: InstanceID(rawValue: .random(in: .min ... .max, using: &self)),
            generation: .random(in: .min ... .max, using: &self), number: .random(in: .min ... .max, using: &self),
            description: ByteBuffer(bytes: bytes(.random(in: 0...80, using: &self))),
            payload: ByteBuffer(bytes: bytes(.random(in: 0...300, using: &self))))
    }

    mutating func kvOperation() -> KVOperation {
        let from = Int32.random(in: 0...1000, using: &self)
        let to = Int32.random(in: from ... .max, using: &self)
        switch Int.random(in: 0..<4, using: &self) {
        case 0: return .remove(sequence(), from: from, to: to)
        case 1: return .copy(source: sequence(), destination: sequence(), from: from, to: to)
        case 2: return .keep(sequence())
        default: return .clear
        }
    }

    mutating func entry() -> BatchEntry {
        BatchEntry(
            sequence: sequence(), position: .random(in: 0 ... .max, using: &self),
            token: TokenID(rawValue: .random(in: 0 ... .max, using: &self)), wantsOutput: .random(using: &self))
    }

    /// A micro-batch with, half the time, activations and a payload that agree.
    mutating func microBatch() -> (MicroBatchDescription, ByteBuffer) {
        let operations = (0..<Int.random(in: 0...6, using: &self)).map { _ in kvOperation() }
        let entries = (0..<Int.random(in: 0...20, using: &self)).map { _ in entry() }
        let batch = MicroBatch(
            number: .random(in: .min ... .max, using: &self), kvOperations: operations, entries: entries)
        let stages = stageTimes()
        guard Bool.random(using: &self) else {
            return (MicroBatchDescription(batch: batch, activations: nil, stages: stages), ByteBuffer())
        }
        let type = TensorDescription.ElementType.allCases.randomElement(using: &self) ?? .float32
        let tensor = TensorDescription(
            elementType: type, rowCount: UInt32(entries.count),
            width: .random(in: 1...16, using: &self) * UInt32(type.blockElementCount))
        let payload = bytes(tensor.payloadByteCount ?? 0)
        return (MicroBatchDescription(batch: batch, activations: tensor, stages: stages), ByteBuffer(bytes: payload))
    }

    mutating func word() -> UInt32 { .random(in: .min ... .max, using: &self) }

    mutating func stageTimes() -> [StageTimes] {
        (0..<Int.random(in: 0...4, using: &self)).map { _ in
            StageTimes(
                queue: word(), embed: word(), compute: word(), sample: word(), detokenize: word(), engine: word(),
                link: word())
        }
    }

    mutating func outputs() -> (OutputsDescription, ByteBuffer) {
        let tokens = (0..<Int.random(in: 0...9, using: &self)).map { _ in
            SampledToken(
                sequence: sequence(), token: TokenID(rawValue: .random(in: 0 ... .max, using: &self)),
                piece: bytes(.random(in: 0...12, using: &self)), isEndOfGeneration: .random(using: &self))
        }
        let stages = stageTimes()
        guard Bool.random(using: &self) else {
            return (OutputsDescription(tokens: tokens, logits: nil, stages: stages), ByteBuffer())
        }
        let tensor = TensorDescription(
            elementType: .float32, rowCount: UInt32(tokens.count), width: .random(in: 1...16, using: &self))
        let payload = ByteBuffer(bytes: bytes(tensor.payloadByteCount ?? 0))
        return (OutputsDescription(tokens: tokens, logits: tensor, stages: stages), payload)
    }
}

extension ByteBuffer {
    var byteArray: [UInt8] { Array(readableBytesView) }
}
