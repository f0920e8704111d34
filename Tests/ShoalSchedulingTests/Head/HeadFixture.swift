import ShoalCore
import ShoalScheduling
import Testing

/// A scheduler, a clock to turn by hand, and what was sent and told so far.
struct HeadFixture {
    /// The token of every answer.
    static let answered = TokenID(rawValue: 100)

    private(set) var scheduler: HeadScheduler
    var now = Duration.zero
    /// Whose micro-batches `answer` answers.
    var generation: UInt32 = 1
    private(set) var sent: [MicroBatch] = []
    private(set) var actions: [HeadSchedulerAction] = []

    /// Ready in generation 1, unless told otherwise. Context 32, 4 sequences, 2 micro-batches, chunks of 8.
    init(isReady: Bool = true, _ change: (inout HeadSchedulerConfiguration) -> Void = { _ in }) {
        var configuration = HeadSchedulerConfiguration(headName: "head", contextTokenCount: 32, sequenceCountMax: 4)
        configuration.microBatchTokenCountMax = 16
        configuration.promptChunkTokenCountMax = 8
        configuration.reusedTokenCountMin = 4
        configuration.speculation = .off
        configuration.microBatchesInFlightMax = 2
        change(&configuration)
        scheduler = HeadScheduler(configuration: configuration)
        if isReady { perform { $0.pipelineReady(generation: 1, now: $1) } }
    }

    /// Does one thing and keeps what the scheduler wants done; returns only that.
    @discardableResult
    mutating func perform(
        _ event: (inout HeadScheduler, Duration) throws -> [HeadSchedulerAction]
    ) rethrows -> [HeadSchedulerAction] {
        let new = try event(&scheduler, now)
        for case .send(let batch) in new { sent.append(batch) }
        actions += new
        return new
    }

    @discardableResult
    mutating func submit(
        _ id: UInt64, promptTokenCount: Int, outputTokenCountMax: Int? = nil, stopSequences: [String] = []
    ) throws -> [HeadSchedulerAction] {
        // Prompts of different requests share nothing.
        let tokens = (0..<promptTokenCount).map { TokenID(rawValue: Int32(id) * 1000 + Int32($0)) }
        return try submit(id, tokens, outputTokenCountMax: outputTokenCountMax, stopSequences: stopSequences)
    }

    @discardableResult
    mutating func submit(
        _ id: UInt64, _ tokens: [TokenID], outputTokenCountMax: Int? = nil, stopSequences: [String] = []
    ) throws -> [HeadSchedulerAction] {
        let request = TokenizedRequest(
            id: RequestID(rawValue: id), promptTokens: tokens, stopSequences: stopSequences,
            outputTokenCountMax: outputTokenCountMax)
        return try perform { scheduler, now in try scheduler.submit(request, now: now) }
    }

    /// Answers the oldest micro-batch that was sent and not answered, if there is one: each output has this text.
    @discardableResult
    mutating func answer(_ text: String = "x", isEndOfGeneration: Bool = false) -> [HeadSchedulerAction] {
        guard !sent.isEmpty else { return [] }
        let batch = sent.removeFirst()
        let generation = generation
        let tokens = batch.entries.filter(\.wantsOutput).map { entry in
            SampledToken(
                sequence: entry.sequence, token: Self.answered, piece: Array(text.utf8),
                isEndOfGeneration: isEndOfGeneration)
        }
        return perform { scheduler, now in
            scheduler.outputsArrived(batchNumber: batch.number, generation: generation, tokens: tokens, now: now)
        }
    }

    @discardableResult
    mutating func fail(_ error: ShoalError = ShoalError(.internal, "bad")) -> [HeadSchedulerAction] {
        guard !sent.isEmpty else { return [] }
        let number = sent.removeFirst().number
        return perform { scheduler, now in
            scheduler.batchFailed(batchNumber: number, generation: 1, error: error, now: now)
        }
    }

    func events(of id: UInt64) -> [GenerationEvent] {
        actions.compactMap { action in
            guard case .emit(RequestID(rawValue: id), let event) = action else { return nil }
            return event
        }
    }

    /// What ended the request: "stop", "length", "lost" or the error's code.
    func end(of id: UInt64) -> String? {
        switch events(of: id).last {
        case .finished(let reason, _): reason.rawValue
        case .failed(let error): error.code.rawValue
        case .lost: "lost"
        case .started, .text, nil: nil
        }
    }
}

extension MicroBatch {
    /// "sequence:position" of each entry, "!" where an output is wanted.
    var shape: String {
        entries.map { "\($0.sequence):\($0.position)\($0.wantsOutput ? "!" : "")" }.joined(separator: " ")
    }
}

func sequence(_ number: Int32) -> SequenceID { SequenceID(rawValue: number) }
