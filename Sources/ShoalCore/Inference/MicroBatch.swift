/// One token of a micro-batch.
package struct BatchEntry: Hashable, Sendable {
    package var sequence: SequenceID
    /// Position in the sequence, from zero.
    package var position: Int32
    /// The token at that position. Stages after the first get activations instead and ignore it.
    package var token: TokenID
    /// Whether the last stage samples the token that follows.
    package var wantsOutput: Bool

    package init(sequence: SequenceID, position: Int32, token: TokenID, wantsOutput: Bool) {
        self.sequence = sequence
        self.position = position
        self.token = token
        self.wantsOutput = wantsOutput
    }
}

/// A change to the KV cache. Operations are applied before the entries of the micro-batch that carries them, in order,
/// in every stage; positions are half-open ranges. Source: `llama_memory_seq_*`, llama.h.
package enum KVOperation: Hashable, Sendable {
    /// Forget positions `from..<to` of a sequence; `to` of `Int32.max` means to the end.
    case remove(SequenceID, from: Int32, to: Int32)
    /// Give `destination`, which is empty, what `source` has at positions `from..<to`; `from` is 0.
    case copy(source: SequenceID, destination: SequenceID, from: Int32, to: Int32)
    /// Forget every sequence but this one.
    case keep(SequenceID)
    /// Forget everything.
    case clear

    /// Forget a whole sequence.
    package static func removeAll(_ sequence: SequenceID) -> KVOperation { .remove(sequence, from: 0, to: .max) }
}

/// The unit of work of the pipeline: what every stage does, in the same order.
package struct MicroBatch: Hashable, Sendable {
    /// Counts up by one per micro-batch of an instance generation.
    package var number: UInt64
    package var kvOperations: [KVOperation]
    /// At most `Limits.microBatchTokenCountMax`; may be empty when only KV operations travel.
    package var entries: [BatchEntry]

    package init(number: UInt64, kvOperations: [KVOperation] = [], entries: [BatchEntry]) {
        self.number = number
        self.kvOperations = kvOperations
        self.entries = entries
    }
}

/// What the last stage produced for one entry that wanted an output.
package struct SampledToken: Hashable, Sendable {
    package var sequence: SequenceID
    package var token: TokenID
    /// The token's text: raw bytes, which may end in the middle of a UTF-8 character.
    package var piece: [UInt8]
    /// The token ends the answer and has no text of its own.
    package var isEndOfGeneration: Bool

    package init(sequence: SequenceID, token: TokenID, piece: [UInt8], isEndOfGeneration: Bool) {
        self.sequence = sequence
        self.token = token
        self.piece = piece
        self.isEndOfGeneration = isEndOfGeneration
    }
}
