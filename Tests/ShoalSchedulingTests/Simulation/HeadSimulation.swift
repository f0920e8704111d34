import ShoalCore
import ShoalScheduling

/// Random requests, readers and faults against a `HeadScheduler` and a `SimulatedPipeline`; every step is checked.
struct HeadSimulation {
    struct Faults {
        var failPercent = 0
        var lossPercent = 0
        var cancelPercent = 0
        /// How often the head is lost, with its pipeline, and another one goes on.
        var headLossPercent = 0
        /// How often the pipeline may be lost under a request.
        var lossCountMax = 2
    }

    let configuration: HeadSchedulerConfiguration
    let faults: Faults
    var scheduler: HeadScheduler
    private var pipeline: SimulatedPipeline
    var generator: SeededGenerator
    var clients: [Client] = []
    /// Whose head was lost and who wait for another one.
    var lostClients: [Int] = []
    private(set) var violations: [String] = []
    var owners: [SequenceID: Int] = [:]
    private var sentBatches: [UInt64: [Int]] = [:]
    private var isLost = false
    var now = Duration.zero
    private(set) var mixedBatchCount = 0
    private(set) var inFlightCountMax = 0
    private(set) var resumedCount = 0
    private(set) var reusedTokenCount = 0
    var draft = SimulatedDraft()
    var isDraftReady = false
    /// Micro-batches of the draft model that wait for its answer.
    var draftBatches: [MicroBatch] = []
    var counters: HeadCounters { scheduler.counters }

    init(seed: UInt64, faults: Faults) {
        generator = SeededGenerator(seed: seed)
        self.faults = faults
        var configuration = HeadSchedulerConfiguration(
            headName: "head", contextTokenCount: Int.random(in: 8...64, using: &generator),
            sequenceCountMax: Int.random(in: 1...6, using: &generator))
        configuration.kvTokenCapacity = Int.random(
            in: configuration.contextTokenCount...configuration.kvTokenCapacity, using: &generator)
        configuration.microBatchTokenCountMax =
            configuration.sequenceCountMax + Int.random(in: 1...12, using: &generator)
        configuration.promptChunkTokenCountMax = Int.random(in: 1...10, using: &generator)
        configuration.stageCount = Int.random(in: 1...4, using: &generator)
        configuration.microBatchesInFlightMax = Int.random(in: 1...4, using: &generator)
        configuration.queuedRequestCountMax = Int.random(in: 1...8, using: &generator)
        configuration.unacknowledgedTokenCountMax = Int.random(in: 1...6, using: &generator)
        configuration.canRemovePartialSequences = generator.chance(70)
        configuration.reusedTokenCountMin = Int.random(in: 1...6, using: &generator)
        configuration.speculation = SpeculationMode.allCases.randomElement(using: &generator) ?? .off
        configuration.vocabularyTokenCount = 16
        configuration.outputCountMax = configuration.sequenceCountMax + Int.random(in: 1...12, using: &generator)
        configuration.lossCountMax = faults.lossCountMax
        configuration.lossProgressTokenCount = 4
        self.configuration = configuration
        scheduler = HeadScheduler(configuration: configuration)
        pipeline = SimulatedPipeline(
            stageCount: configuration.stageCount, isRecurrent: !configuration.canRemovePartialSequences,
            isStrict: faults.failPercent == 0)
    }

    /// `stepCount` steps with faults, then as many as it takes without, until nothing is left.
    mutating func run(stepCount: Int) {
        restore()
        for _ in 0..<stepCount { step() }
        if isLost { restore() }
        var remaining = 100_000
        while remaining > 0, !isQuiet {
            remaining -= 1
            now += .milliseconds(1)
            readOn(percentOf: { _ in 100 })
            for stage in pipeline.stages.indices { pipeline.compute(stage: stage) }
            deliver()
            check()
        }
        checkEnd()
    }

    private var isQuiet: Bool {
        clients.allSatisfy { $0.terminal != nil } && pipeline.isQuiet
    }

    private mutating func step() {
        now += .milliseconds(Int.random(in: 0...5, using: &generator))
        if generator.chance(15) { submit() }
        for stage in pipeline.stages.indices where generator.chance(60) { computeOrFail(stage) }
        if generator.chance(60) { deliver() }
        if generator.chance(70) { deliverGuesses() }
        if generator.chance(isDraftReady ? 1 : 10) { changeDraft() }
        if generator.chance(faults.cancelPercent) { cancelOne() }
        readOn(percentOf: { $0.readPercent })
        if generator.chance(faults.headLossPercent) { replaceHead() }
        if isLost {
            if generator.chance(10) { restore() }
        } else if generator.chance(faults.lossPercent) {
            lose()
        }
        check()
    }

    // MARK: What happens

    private mutating func submit() {
        let number = clients.count
        let tokens = prompt()
        let stops = ["END", "ab", "é", "fish the "].filter { _ in generator.chance(20) }
        var sampling = SamplingParameters()
        // Tells whose the sampler is, and so the sequence.
        sampling.seed = UInt32(number)
        let request = TokenizedRequest(
            id: RequestID(rawValue: UInt64(number)), promptTokens: tokens, sampling: sampling, stopSequences: stops,
            outputTokenCountMax: generator.chance(50) ? Int.random(in: 1...20, using: &generator) : nil)
        clients.append(
            Client(
                request: request,
                expected: ReferenceModel.answer(to: request, contextTokenCount: configuration.contextTokenCount),
                readPercent: [100, 30, 2].randomElement(using: &generator) ?? 100))
        do throws(ShoalError) {
            execute(try scheduler.submit(request, now: now))
        } catch {
            refuse(number, error)
        }
    }

    private mutating func refuse(_ number: Int, _ error: ShoalError) {
        let isTooLong = clients[number].request.promptTokens.count >= configuration.contextTokenCount
        if (error.code == .contextOverflow) != isTooLong { violate("request \(number) refused with \(error.code)") }
        if error.code == .overloaded, scheduler.queuedRequestCount < configuration.queuedRequestCountMax {
            violate("request \(number) refused although the queue has room")
        }
        clients[number].terminal = .failed(error)
    }

    private mutating func computeOrFail(_ stage: Int) {
        if generator.chance(faults.failPercent) {
            pipeline.fail(stage: stage, using: &generator)
        } else {
            pipeline.compute(stage: stage)
        }
    }

    /// Random times, now and then: whatever they make of pace and portions, answers stay right.
    private mutating func stageTimes() -> [StageTimes] {
        guard generator.chance(20) else { return [] }
        return (0..<configuration.stageCount).map { _ in
            StageTimes(compute: UInt32.random(in: 0...100_000, using: &generator))
        }
    }

    private mutating func deliver() {
        guard let answer = pipeline.takeAnswer() else { return }
        if answer.generation == scheduler.generation {
            for number in sentBatches.removeValue(forKey: answer.number) ?? [] { clients[number].decodesInFlight -= 1 }
        }
        switch answer.result {
        case .success(let tokens):
            execute(
                scheduler.outputsArrived(
                    batchNumber: answer.number, generation: answer.generation, tokens: tokens, stages: stageTimes(),
                    now: now))
        case .failure(let error):
            execute(
                scheduler.batchFailed(
                    batchNumber: answer.number, generation: answer.generation, error: error, now: now))
        }
    }

    private mutating func cancelOne() {
        guard let number = clients.indices.randomElement(using: &generator) else { return }
        let wasEnded = clients[number].terminal != nil
        execute(scheduler.cancel(clients[number].request.id, now: now))
        guard !wasEnded else { return }
        guard case .failed(let error) = clients[number].terminal, error.code == .cancelled else {
            return violate("request \(number) was cancelled and heard \(String(describing: clients[number].terminal))")
        }
    }

    private mutating func readOn(percentOf percent: (Client) -> Int) {
        for number in clients.indices where clients[number].unacknowledged > 0 {
            guard generator.chance(percent(clients[number])) else { continue }
            let count = clients[number].unacknowledged
            clients[number].consumedTokenCount += count
            execute(scheduler.consumed(clients[number].request.id, tokenCount: count, now: now))
        }
    }

    private mutating func lose() {
        isLost = true
        execute(scheduler.pipelineLost(ShoalError(.engineLost, "the simulation lost a stage")))
    }

    mutating func restore() {
        isLost = false
        pipeline.reset(generation: pipeline.generation + 1)
        sentBatches = [:]
        for number in clients.indices { clients[number].decodesInFlight = 0 }
        execute(scheduler.pipelineReady(generation: pipeline.generation, now: now))
    }

    // MARK: What the scheduler wants done

    mutating func execute(_ actions: [HeadSchedulerAction]) {
        for action in actions {
            switch action {
            case .send(let batch):
                checkBatch(batch)
                pipeline.send(batch)
            case .configureSampler(let sequence, let sampling, let history):
                pipeline.configureSampler(sequence)
                own(sequence, Int(sampling.seed ?? 0), history)
            case .releaseSampler(let sequence):
                pipeline.releaseSampler(sequence)
            case .emit(let id, let event):
                hear(Int(id.rawValue), event)
            case .draft(let batch):
                if !isDraftReady { violate("the draft model is asked, but it is not there") }
                if !draftBatches.isEmpty { violate("the draft model is asked twice at once") }
                draftBatches.append(batch)
            case .draftBroken(let error):
                if error.code != .internal { violate("the draft model is held for broken: \(error)") }
                isDraftReady = false
                draftBatches = []
            case .pipelineBroken:
                lose()
            case .drained:
                violate("drained without a drain")
            }
        }
    }

    private mutating func hear(_ number: Int, _ event: GenerationEvent) {
        if clients[number].terminal != nil { violate("request \(number) hears \(event) after its end") }
        if case .started = event {
            if clients[number].isStarted { violate("request \(number) started twice") }
            clients[number].isStarted = true
        } else if !clients[number].isStarted {
            violate("request \(number) hears \(event) before it started")
        }
        switch event {
        case .started:
            break
        case .text(let text, let tokens):
            clients[number].text += text
            clients[number].toldTokenCount += tokens.count
            let all = clients[number].expected.tokens
            if Array(all.prefix(clients[number].toldTokenCount).suffix(tokens.count)) != tokens {
                violate("request \(number) is told of \(tokens) up to \(clients[number].toldTokenCount) of \(all)")
            }
        case .finished(let reason, let usage):
            clients[number].terminal = event
            checkAnswer(number, reason, usage)
        case .lost:
            lostClients.append(number)
        case .failed(let error):
            clients[number].terminal = event
            if faults.failPercent == 0, faults.lossCountMax > 100, error.code != .cancelled {
                violate("request \(number) fails with \(error) although nothing failed but the pipeline as a whole")
            }
        }
        let expected = clients[number].expected.text
        if !expected.utf8.starts(with: clients[number].text.utf8) {
            violate("request \(number) has \(clients[number].text.debugDescription), not \(expected.debugDescription)")
        }
    }

    mutating func violate(_ what: String) { violations.append("at \(now): \(what)") }
}

// MARK: What must hold

extension HeadSimulation {
    private mutating func checkAnswer(_ number: Int, _ reason: FinishReason, _ usage: GenerationUsage) {
        let client = clients[number]
        if Array(client.text.utf8) != Array(client.expected.text.utf8) || reason != client.expected.reason {
            violate("request \(number): \(client.text.debugDescription) \(reason), not \(client.expected)")
        }
        if usage.promptTokenCount != client.request.promptTokens.count
            || usage.outputTokenCount != client.expected.tokens.count
        {
            violate("request \(number): usage \(usage), expected \(client.expected.tokens.count) tokens")
        }
        if usage.reusedTokenCount >= usage.promptTokenCount, !client.hasMoved {
            violate("request \(number): usage \(usage)")
        }
        reusedTokenCount += usage.reusedTokenCount
        if usage.queueSeconds < 0 || usage.prefillSeconds < 0 || usage.decodeSeconds < 0 {
            violate("request \(number): negative time in \(usage)")
        }
    }

    private mutating func checkBatch(_ batch: MicroBatch) {
        if isLost { violate("micro-batch \(batch.number) sent into a lost pipeline") }
        var promptTokenCount = 0
        var decoding: [Int] = []
        for entry in batch.entries {
            let number = owners[entry.sequence] ?? 0
            let request = clients[number].request
            if clients[number].terminal != nil { violate("request \(number) has ended and is computed") }
            let isPrefill = Int(entry.position) < clients[number].prefillTokenCount
            if isPrefill {
                promptTokenCount += 1
            } else {
                decoding.append(number)
                clients[number].decodesInFlight += 1
                if clients[number].unacknowledged >= configuration.unacknowledgedTokenCountMax {
                    violate("request \(number) goes on although its reader is slow")
                }
            }
            let tokens = request.promptTokens + clients[number].expected.tokens
            let expected = tokens.indices.contains(Int(entry.position)) ? tokens[Int(entry.position)] : nil
            let mayGuess = !isPrefill && configuration.speculation != .off
            if !mayGuess, entry.token != expected {
                violate("request \(number) sends \(entry.token) at \(entry.position)")
            }
            if entry.wantsOutput != (Int(entry.position) >= clients[number].prefillTokenCount - 1) {
                violate("request \(number): output wanted at \(entry.position)")
            }
            if Int(entry.position) >= tokenCountMax(of: number) { violate("request \(number) computes too far") }
            if !mayGuess, clients[number].decodesInFlight > 1 {
                violate("request \(number) has two decode tokens under way")
            }
        }
        sentBatches[batch.number] = decoding
        if promptTokenCount > 0, !decoding.isEmpty { mixedBatchCount += 1 }
        if batch.entries.isEmpty, batch.kvOperations.isEmpty { violate("micro-batch \(batch.number) does nothing") }
        if batch.entries.count(where: \.wantsOutput) > configuration.outputCountMax {
            violate("micro-batch \(batch.number) wants too many outputs")
        }
        if batch.entries.count > configuration.microBatchTokenCountMax {
            violate("micro-batch of \(batch.entries.count)")
        }
        if promptTokenCount > configuration.promptChunkTokenCountMax { violate("\(promptTokenCount) prompt tokens") }
        inFlightCountMax = max(inFlightCountMax, sentBatches.count)
        if sentBatches.count > configuration.microBatchesInFlightMax { violate("\(sentBatches.count) under way") }
    }

    private func tokenCountMax(of number: Int) -> Int {
        let request = clients[number].request
        return min(
            configuration.contextTokenCount, request.promptTokens.count + (request.outputTokenCountMax ?? .max / 2))
    }

    private mutating func own(_ sequence: SequenceID, _ number: Int, _ history: SamplerHistory) {
        if let previous = owners[sequence], previous != number, clients[previous].terminal == nil {
            violate("sequence \(sequence) goes to \(number) while \(previous) has it")
        }
        owners[sequence] = number
        let client = clients[number]
        if !client.expected.tokens.starts(with: history.output) || history.output.count < client.toldTokenCount {
            violate("request \(number) goes on after \(history.output), told were \(client.toldTokenCount)")
        }
        clients[number].prefillTokenCount = client.request.promptTokens.count + history.output.count
        if !history.output.isEmpty { resumedCount += 1 }
    }

    private mutating func check() {
        if scheduler.reservedCellCount > configuration.kvTokenCapacity { violate("too many cells reserved") }
        if faults.failPercent == 0, pipeline.cellCountMax > configuration.kvTokenCapacity {
            violate("\(pipeline.cellCountMax) cells in use")
        }
        if scheduler.queuedRequestCount > configuration.queuedRequestCountMax { violate("queue too long") }
        if scheduler.runningRequestCount > configuration.sequenceCountMax { violate("too many running") }
    }

    private mutating func checkEnd() {
        for number in clients.indices where clients[number].terminal == nil {
            violate("request \(number) never ended")
        }
        for stage in pipeline.stages where stage.cells.keys.sorted() != scheduler.cachedSequences {
            violate("cells left: \(stage.cells), cached are \(scheduler.cachedSequences)")
        }
        if !pipeline.samplers.isEmpty { violate("samplers left: \(pipeline.samplers)") }
        if !scheduler.sequencesInUse.isEmpty { violate("sequences left: \(scheduler.sequencesInUse)") }
        if scheduler.reservedCellCount != 0 { violate("\(scheduler.reservedCellCount) cells still reserved") }
        violations += pipeline.violations
    }
}
