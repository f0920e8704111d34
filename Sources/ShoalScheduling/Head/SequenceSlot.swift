import ShoalCore

/// One sequence of the KV cache, as the head sees it.
///
///     idle --admit--> running --end--> retiring --last micro-batch that mentions it came back--> idle
///
/// An idle sequence keeps its cells as a prefix that later requests may continue or copy, until the sequence or its
/// cells are needed. It must not be given away earlier: outputs of the old request would look like the new one's, and
/// the sampler is not ordered with micro-batches that are still in other stages.
struct SequenceSlot: Sendable {
    enum Occupant: Sendable {
        case idle
        case running(RunningRequest)
        case retiring(reservedCellCount: Int)
    }

    var occupant = Occupant.idle
    /// Micro-batches under way with entries of this sequence.
    var mentionCount = 0
    /// Tokens of the cells, by position, once everything that was sent is computed in a stage.
    var cells: [TokenID] = []
    /// The stages may hold cells behind those: guesses that were wrong. Whatever is sent next removes them first.
    var hasSurplus = false
    /// A micro-batch failed that changed the cells: what they hold is unknown until they are removed.
    var isDirty = false
    var lastUsedAt = Duration.zero

    var isIdle: Bool {
        if case .idle = occupant { true } else { false }
    }

    var running: RunningRequest? {
        if case .running(let request) = occupant { request } else { nil }
    }

    /// Cells that a new request cannot have, unless those of an idle sequence are given up.
    var reservedCellCount: Int {
        switch occupant {
        case .idle: 0
        // Until its first micro-batch goes, a request's sequence holds what it held before.
        case .running(let request): max(request.reservedCellCount, cells.count)
        case .retiring(let count): max(count, cells.count)
        }
    }

    /// How many of the first tokens of a prompt these cells hold, if `isCut` cells behind them can be removed.
    func sharedCount(with prompt: [TokenID], canBeCut: Bool) -> Int {
        guard !isDirty else { return 0 }
        // The last token of a prompt is computed in any case: somebody has to say what follows.
        let limit = min(cells.count, prompt.count - 1)
        var count = 0
        while count < limit, cells[count] == prompt[count] { count += 1 }
        return canBeCut || count == cells.count ? count : 0
    }
}

/// A micro-batch that was sent and has not come back.
struct BatchInFlight: Sendable {
    let number: UInt64
    let sentAt: Duration
    let kvOperations: [KVOperation]
    let tokenCount: Int
    /// Whether it holds the latest token of a running answer; guesses alone do not count.
    let isDecoding: Bool
    /// Sequences with entries, each once.
    let sequences: [SequenceID]
    /// Entries of a sequence that want an output.
    struct Window: Sendable {
        let sequence: SequenceID
        var count: Int
        /// The request's `cutCount` when it was sent.
        let cutCount: Int
    }
    /// In entry order.
    let windows: [Window]

    init(_ batch: MicroBatch, windows: [Window], isDecoding: Bool, sentAt: Duration) {
        number = batch.number
        self.sentAt = sentAt
        self.isDecoding = isDecoding
        kvOperations = batch.kvOperations
        tokenCount = batch.entries.count
        sequences = Array(Set(batch.entries.map(\.sequence))).sorted()
        self.windows = windows
    }

    /// Sequences whose cells are unknown if this micro-batch was computed by some stages and not by others.
    var changedSequences: Set<SequenceID> {
        kvOperations.reduce(into: Set(sequences)) { changed, operation in
            switch operation {
            case .remove(let sequence, _, _): changed.insert(sequence)
            case .copy(_, let destination, _, _): changed.insert(destination)
            case .keep, .clear: break
            }
        }
    }
}
