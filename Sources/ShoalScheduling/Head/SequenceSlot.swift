import ShoalCore

/// One sequence of the KV cache, as the head sees it.
///
///     free --admit--> running --end--> retiring --last micro-batch that mentions it came back--> free
///
/// The way back to `free` queues the removal of its cells and releases its sampler. The removal rides on the next
/// micro-batch, whatever that is, and operations come before entries; so the sequence may be given away at once.
/// It must not be earlier: outputs of the old request would look like the new one's, and the sampler is not ordered
/// with micro-batches that are still in other stages.
struct SequenceSlot: Sendable {
    enum Occupant: Sendable {
        case free
        case running(RunningRequest)
        case retiring(reservedCellCount: Int)
    }

    var occupant = Occupant.free
    /// Micro-batches under way with entries of this sequence.
    var mentionCount = 0

    var isFree: Bool {
        if case .free = occupant { true } else { false }
    }

    var running: RunningRequest? {
        if case .running(let request) = occupant { request } else { nil }
    }

    var reservedCellCount: Int {
        switch occupant {
        case .free: 0
        case .running(let request): request.reservedCellCount
        case .retiring(let count): count
        }
    }
}

/// A micro-batch that was sent and has not come back.
struct BatchInFlight: Sendable {
    let number: UInt64
    let sentAt: Duration
    /// Sequences whose cells it removes.
    let removals: [SequenceID]
    /// Sequences with entries, each once.
    let sequences: [SequenceID]
    /// Sequences whose entries want an output, in entry order.
    let outputSequences: [SequenceID]

    init(_ batch: MicroBatch, removals: [SequenceID], sentAt: Duration) {
        number = batch.number
        self.sentAt = sentAt
        self.removals = removals
        sequences = Array(Set(batch.entries.map(\.sequence))).sorted()
        outputSequences = batch.entries.filter(\.wantsOutput).map(\.sequence)
    }
}
