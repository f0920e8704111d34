import ShoalCore

/// The draft model's work, as a value: what its cache holds, what it is asked next, and what it takes.
///
/// The draft model is one stage of its own, with the sequences of the instance under the same numbers. Each micro-batch
/// brings its cache to "answer and guesses so far" and asks for the one token behind: cells of guesses that were wrong
/// are removed, tokens that it has not seen are computed. One micro-batch is under way at a time, because each guess
/// needs the one before it; it serves all answers at once. Nothing waits for it: a draft model that is slow, or gone,
/// only makes no guesses.
struct DraftScheduler: Sendable {
    /// What one answer wants guessed: the token behind `tokens` and `guesses`.
    struct Wish: Sendable {
        var sequence: SequenceID
        /// Not empty.
        var tokens: [TokenID]
        var guesses: [TokenID]

        var count: Int { tokens.count + guesses.count }

        subscript(position: Int) -> TokenID {
            position < tokens.count ? tokens[position] : guesses[position - tokens.count]
        }
    }

    /// A token that the draft model says comes behind the first `position` tokens of its cells.
    struct Guess: Sendable {
        var sequence: SequenceID
        var position: Int
        var token: SampledToken
    }

    /// One sequence of the draft model's cache.
    private struct Sequence: Sendable {
        /// Tokens, by position, that are computed or under way.
        var cells: [TokenID] = []
        /// How many of them were found in the answer; grows with it.
        var agreedCount = 0
        var owner: RequestID?
        /// Where the draft model has nothing to say that could be of use: it would end the answer there.
        var endsAt: Int?
    }

    private struct InFlight: Sendable {
        var number: UInt64
        var tokenCount: Int
        /// Whether it computes guesses alone, and no prompt.
        var isStep: Bool
        var sentAt: Duration
        var asked: [SequenceID]
    }

    /// Tokens of one micro-batch.
    static let batchTokenCountMax = 512
    /// Of them, such of prompts and answers that it has not seen: beside other answers' guesses, and alone.
    private static let catchUpTokenCountBeside = 32
    private static let catchUpTokenCountMax = 128
    /// A sequence that lacks no more than this takes part as a guessing one.
    private static let stepTokenCountMax = 4
    /// Micro-batches between two looks at the times, and before the first.
    private static let learnedBatchCount = 8
    private static let firstLearnedBatchCount = 4

    private let vocabularyTokenCount: Int
    private var sequences: [Sequence]
    private(set) var isReady = false
    private var inFlight: InFlight?
    private var nextNumber: UInt64 = 0
    private var cost = StageCost()
    private var unlearnedBatchCount = 0
    /// Counts what changes `seconds`.
    private(set) var costVersion = 0

    init(sequenceCountMax: Int, vocabularyTokenCount: Int) {
        sequences = Array(repeating: Sequence(), count: sequenceCountMax)
        self.vocabularyTokenCount = vocabularyTokenCount
    }

    /// Seconds for one more guess of each of `sequenceCount` answers; nil until it was measured.
    func seconds(sequenceCount: Int) -> Double? {
        cost.isKnown ? cost.seconds(tokenCount: Double(sequenceCount), outputCount: Double(sequenceCount)) : nil
    }

    // MARK: Events

    /// The draft model is loaded, and its cache empty.
    mutating func becomeReady() {
        isReady = true
        forget()
    }

    mutating func becomeAbsent() {
        isReady = false
        forget()
    }

    private mutating func forget() {
        inFlight = nil
        sequences = Array(repeating: Sequence(), count: sequences.count)
    }

    /// Which request's tokens come next in a sequence. What the cache holds of the one before may serve as its start.
    mutating func assign(_ sequence: SequenceID, to request: RequestID) {
        let index = Int(sequence.rawValue)
        guard sequences[index].owner != request else { return }
        sequences[index].owner = request
        sequences[index].agreedCount = 0
        sequences[index].endsAt = nil
    }

    /// Guesses that came, for whatever was asked. Throws `protocolViolation` for others than were asked for.
    mutating func outputsArrived(
        _ number: UInt64, _ tokens: [SampledToken], now: Duration
    ) throws(ShoalError) -> [Guess] {
        guard isReady, let batch = inFlight, batch.number == number else { return [] }
        inFlight = nil
        guard tokens.map(\.sequence) == batch.asked else {
            throw ShoalError(
                .protocolViolation,
                "the draft model answered with \(tokens.count) tokens; \(batch.asked.count) were asked for")
        }
        measured(batch, now - batch.sentAt)
        return tokens.compactMap { token in
            let index = Int(token.sequence.rawValue)
            let position = sequences[index].cells.count
            // The instance's model may know fewer tokens; an answer's end is not worth guessing.
            guard !token.isEndOfGeneration, (0..<vocabularyTokenCount).contains(Int(token.token.rawValue)) else {
                sequences[index].endsAt = position
                return nil
            }
            return Guess(sequence: token.sequence, position: position, token: token)
        }
    }

    /// What its cells hold is unknown now, where the failed micro-batch changed it.
    mutating func batchFailed(_ number: UInt64) {
        guard inFlight?.number == number else { return }
        becomeAbsent()
    }

    private mutating func measured(_ batch: InFlight, _ duration: Duration) {
        // What a guess takes does not follow from what a prompt takes.
        guard batch.isStep else { return }
        cost.add(tokenCount: batch.tokenCount, outputCount: batch.tokenCount, seconds: max(0, duration / .seconds(1)))
        unlearnedBatchCount += 1
        let wanted = cost.isKnown ? Self.learnedBatchCount : Self.firstLearnedBatchCount
        guard unlearnedBatchCount >= wanted else { return }
        unlearnedBatchCount = 0
        cost.fade()
        cost.learn()
        costVersion += 1
    }

    // MARK: What is asked next

    /// Whether nothing is under way, so that wishes can be granted.
    var isIdle: Bool { isReady && inFlight == nil }

    /// Whether the guess for this position will not come.
    func hasNothing(for sequence: SequenceID, at position: Int) -> Bool {
        sequences[Int(sequence.rawValue)].endsAt == position
    }

    /// Whether a guess continues what is known now: the cells that it was made of are the answer and its guesses.
    mutating func isCurrent(_ guess: Guess, _ wish: Wish) -> Bool {
        agree(wish) >= guess.position && guess.position <= wish.count
    }

    /// A micro-batch that brings guesses for some of the wishes, those that lack least first; nil when there is
    /// none, or one is under way.
    mutating func nextBatch(_ wishes: [Wish], now: Duration) -> MicroBatch? {
        guard isIdle, !wishes.isEmpty else { return nil }
        let starts = wishes.map { wish in (wish, start: min(agree(wish), wish.count - 1)) }
        let steps = starts.filter { $0.0.count - $0.start <= Self.stepTokenCountMax }
        let others = starts.filter { $0.0.count - $0.start > Self.stepTokenCountMax }
        var room = steps.isEmpty ? Self.catchUpTokenCountMax : Self.catchUpTokenCountBeside
        var operations: [KVOperation] = []
        var entries: [BatchEntry] = []
        var asked: [SequenceID] = []
        for (wish, start) in steps where entries.count + Self.stepTokenCountMax <= Self.batchTokenCountMax - room {
            take(wish, start..<wish.count, &operations, &entries, &asked)
        }
        for (wish, start) in others where room > 0 {
            let end = min(wish.count, start + room)
            room -= end - start
            take(wish, start..<end, &operations, &entries, &asked)
        }
        let batch = MicroBatch(number: nextNumber, kvOperations: operations, entries: entries)
        inFlight = InFlight(
            number: nextNumber, tokenCount: entries.count, isStep: others.isEmpty, sentAt: now, asked: asked)
        nextNumber += 1
        return batch
    }

    private mutating func take(
        _ wish: Wish, _ positions: Range<Int>, _ operations: inout [KVOperation], _ entries: inout [BatchEntry],
        _ asked: inout [SequenceID]
    ) {
        let index = Int(wish.sequence.rawValue)
        let held = sequences[index].cells.count
        if held > positions.lowerBound {
            operations.append(.remove(wish.sequence, from: Int32(positions.lowerBound), to: .max))
            sequences[index].cells.removeSubrange(positions.lowerBound...)
            sequences[index].agreedCount = min(sequences[index].agreedCount, positions.lowerBound)
        }
        let isWhole = positions.upperBound == wish.count
        for position in positions {
            entries.append(
                BatchEntry(
                    sequence: wish.sequence, position: Int32(position), token: wish[position],
                    wantsOutput: isWhole && position == wish.count - 1))
            sequences[index].cells.append(wish[position])
        }
        sequences[index].endsAt = nil
        if isWhole { asked.append(wish.sequence) }
    }

    /// How many of the first cells hold what the answer and its guesses are. Cells that were compared with the answer
    /// once need not be again: both only grow.
    private mutating func agree(_ wish: Wish) -> Int {
        let index = Int(wish.sequence.rawValue)
        var count = sequences[index].agreedCount
        let cells = sequences[index].cells
        while count < cells.count, count < wish.tokens.count, cells[count] == wish.tokens[count] { count += 1 }
        sequences[index].agreedCount = count
        guard count == wish.tokens.count else { return count }
        while count < cells.count, count < wish.count, cells[count] == wish[count] { count += 1 }
        return count
    }
}
