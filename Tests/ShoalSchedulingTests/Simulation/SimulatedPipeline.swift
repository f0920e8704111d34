import ShoalCore
import ShoalScheduling

/// The stages of an instance, each with its own cells, and queues between them; the last one samples.
struct SimulatedPipeline {
    struct Answer {
        let number: UInt64
        let generation: UInt32
        let result: Result<[SampledToken], ShoalError>
    }

    /// A micro-batch on its way, with what each entry's history was in the stage before.
    private struct Traveller {
        let batch: MicroBatch
        var histories: [[TokenID]?]?
    }

    private(set) var generation: UInt32 = 0
    private(set) var stages: [SimulatedStage]
    private(set) var samplers: Set<SequenceID> = []
    /// What the next entry of a sequence has to be for its sampler to go on.
    private var expected: [SequenceID: (position: Int32, token: TokenID)] = [:]
    /// What waits before each stage.
    private var queues: [[Traveller]]
    private(set) var answers: [Answer] = []
    private var ownViolations: [String] = []

    init(stageCount: Int, isRecurrent: Bool, isStrict: Bool) {
        stages = Array(repeating: SimulatedStage(isRecurrent: isRecurrent, isStrict: isStrict), count: stageCount)
        queues = Array(repeating: [], count: stageCount)
    }

    var violations: [String] { ownViolations + stages.flatMap(\.violations) }

    var isQuiet: Bool { answers.isEmpty && queues.allSatisfy(\.isEmpty) }

    var cellCountMax: Int { stages.map(\.cellCount).max() ?? 0 }

    mutating func send(_ batch: MicroBatch) { queues[0].append(Traveller(batch: batch, histories: nil)) }

    mutating func configureSampler(_ sequence: SequenceID) {
        expected[sequence] = nil
        if !samplers.insert(sequence).inserted { ownViolations.append("sampler of \(sequence) configured twice") }
    }

    mutating func releaseSampler(_ sequence: SequenceID) {
        if samplers.remove(sequence) == nil { ownViolations.append("sampler of \(sequence) released without one") }
        let isMentioned = queues.joined().contains { $0.batch.entries.contains { $0.sequence == sequence } }
        if isMentioned { ownViolations.append("sampler of \(sequence) released under a micro-batch") }
    }

    /// Everything is lost; answers that are on their way still arrive.
    mutating func reset(generation: UInt32) {
        self.generation = generation
        for index in stages.indices { stages[index].clear() }
        samplers = []
        expected = [:]
        queues = Array(repeating: [], count: stages.count)
    }

    mutating func takeAnswer() -> Answer? { answers.isEmpty ? nil : answers.removeFirst() }

    /// One stage computes its oldest micro-batch.
    mutating func compute(stage index: Int) {
        guard !queues[index].isEmpty else { return }
        var traveller = queues[index].removeFirst()
        for operation in traveller.batch.kvOperations { stages[index].apply(operation) }
        guard var histories = stages[index].append(traveller.batch.entries) else {
            return answerFailure(of: traveller.batch)
        }
        for (place, before) in (traveller.histories ?? []).enumerated() where histories[place] != before {
            if stages[index].isStrict { ownViolations.append("stage \(index) and the one before hold other tokens") }
            histories[place] = nil
        }
        traveller.histories = histories
        guard index == stages.count - 1 else { return queues[index + 1].append(traveller) }
        let outputs = zip(traveller.batch.entries, histories).compactMap { sample($0, $1) }
        answers.append(Answer(number: traveller.batch.number, generation: generation, result: .success(outputs)))
    }

    /// One stage fails its oldest micro-batch; the stages behind it never see it.
    mutating func fail(stage index: Int, using generator: inout SeededGenerator) {
        guard !queues[index].isEmpty else { return }
        let batch = queues[index].removeFirst().batch
        stages[index].spoil(batch, using: &generator)
        answerFailure(of: batch)
    }

    private mutating func answerFailure(of batch: MicroBatch) {
        let error = ShoalError(.internal, "the simulation failed micro-batch \(batch.number)")
        answers.append(Answer(number: batch.number, generation: generation, result: .failure(error)))
    }

    private mutating func sample(_ entry: BatchEntry, _ history: [TokenID]?) -> SampledToken? {
        guard entry.wantsOutput else { return nil }
        if !samplers.contains(entry.sequence) {
            ownViolations.append("output of \(entry.sequence) wanted, but it has no sampler")
        }
        if let next = expected[entry.sequence], next != (entry.position, entry.token) { return nil }
        // Garbage in, garbage out: whoever reads this has the wrong text.
        let token =
            history.map { ReferenceModel.next(after: $0, in: entry.sequence) }
            ?? SampledToken(
                sequence: entry.sequence, token: TokenID(rawValue: 998), piece: Array("garbage".utf8),
                isEndOfGeneration: false)
        expected[entry.sequence] = (entry.position + 1, token.token)
        return token
    }
}
