import ShoalCore
import ShoalScheduling

/// The stages of an instance as one FIFO: batches go in, answers come out in the same order, later.
struct SimulatedPipeline {
    /// What a sequence's cells hold.
    enum Cells {
        case tokens([TokenID])
        /// A failed micro-batch left them in an unknown state.
        case unknown(count: Int)

        var count: Int {
            switch self {
            case .tokens(let tokens): tokens.count
            case .unknown(let count): count
            }
        }
    }

    struct Answer {
        let number: UInt64
        let generation: UInt32
        let result: Result<[SampledToken], ShoalError>
    }

    private(set) var generation: UInt32 = 0
    private(set) var cells: [SequenceID: Cells] = [:]
    private(set) var samplers: Set<SequenceID> = []
    private(set) var batches: [MicroBatch] = []
    private(set) var answers: [Answer] = []
    private(set) var violations: [String] = []
    private(set) var cellCountMax = 0

    var cellCount: Int { cells.values.reduce(0) { $0 + $1.count } }

    mutating func send(_ batch: MicroBatch) { batches.append(batch) }

    mutating func configureSampler(_ sequence: SequenceID) {
        if !samplers.insert(sequence).inserted { violations.append("sampler of \(sequence) configured twice") }
    }

    mutating func releaseSampler(_ sequence: SequenceID) {
        if samplers.remove(sequence) == nil { violations.append("sampler of \(sequence) released, but there is none") }
        if batches.contains(where: { $0.entries.contains { $0.sequence == sequence } }) {
            violations.append("sampler of \(sequence) released under a micro-batch")
        }
    }

    /// Everything is lost; answers that are on their way still arrive.
    mutating func reset(generation: UInt32) {
        self.generation = generation
        cells = [:]
        samplers = []
        batches = []
    }

    mutating func takeAnswer() -> Answer? { answers.isEmpty ? nil : answers.removeFirst() }

    /// Computes the oldest micro-batch.
    mutating func compute() {
        guard !batches.isEmpty else { return }
        let batch = batches.removeFirst()
        for operation in batch.kvOperations { apply(operation) }
        let outputs = batch.entries.compactMap { compute($0) }
        answers.append(Answer(number: batch.number, generation: generation, result: .success(outputs)))
    }

    /// Fails the oldest micro-batch; what it removed or wrote is left in any state.
    mutating func fail(using generator: inout SeededGenerator) {
        guard !batches.isEmpty else { return }
        let batch = batches.removeFirst()
        for operation in batch.kvOperations {
            if generator.chance(50) {
                apply(operation)
            } else if case .remove(let sequence, _, _) = operation {
                cells[sequence] = .unknown(count: cells[sequence]?.count ?? 0)
            }
        }
        for entry in batch.entries { cells[entry.sequence] = .unknown(count: Int(entry.position) + 1) }
        let error = ShoalError(.internal, "the simulation failed micro-batch \(batch.number)")
        answers.append(Answer(number: batch.number, generation: generation, result: .failure(error)))
    }

    private mutating func apply(_ operation: KVOperation) {
        guard case .remove(let sequence, from: 0, to: .max) = operation else {
            violations.append("operation \(operation) is not the removal of a whole sequence")
            return
        }
        cells[sequence] = nil
    }

    private mutating func compute(_ entry: BatchEntry) -> SampledToken? {
        if entry.wantsOutput, !samplers.contains(entry.sequence) {
            violations.append("output of \(entry.sequence) wanted, but it has no sampler")
        }
        guard case .tokens(var tokens) = cells[entry.sequence] ?? .tokens([]) else {
            // Garbage in, garbage out: whoever reads this has the wrong text.
            return entry.wantsOutput
                ? SampledToken(
                    sequence: entry.sequence, token: TokenID(rawValue: 998), piece: Array("garbage".utf8),
                    isEndOfGeneration: false) : nil
        }
        if tokens.count != Int(entry.position) {
            violations.append(
                "sequence \(entry.sequence) has \(tokens.count) cells and gets position \(entry.position)")
        }
        tokens.append(entry.token)
        cells[entry.sequence] = .tokens(tokens)
        cellCountMax = max(cellCountMax, cellCount)
        return entry.wantsOutput ? ReferenceModel.next(after: tokens, in: entry.sequence) : nil
    }
}
