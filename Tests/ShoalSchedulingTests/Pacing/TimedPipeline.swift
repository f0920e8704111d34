import ShoalCore
import ShoalScheduling

/// A head, stages that take their time, and links that delay, all in virtual time. Nothing is random.
struct TimedPipeline {
    /// Seconds of a micro-batch in one stage.
    struct StageTimes {
        var fixed: Double
        var perToken: Double
        /// Every n-th micro-batch takes this many times as long; 0 means none.
        var slowEvery = 0
        var slowFactor = 2.0
        /// Measured ones of 1, 2, 3… tokens, where they do not follow a line.
        var measured: [Double] = []

        func seconds(_ tokenCount: Int, number: Int) -> Double {
            let isMeasured = measured.indices.contains(tokenCount - 1)
            let seconds = isMeasured ? measured[tokenCount - 1] : fixed + perToken * Double(tokenCount)
            return slowEvery > 0 && number % slowEvery == 0 ? seconds * slowFactor : seconds
        }
    }

    /// A draft model on the head's node.
    struct Draft {
        var times: StageTimes
        /// Percent of its guesses that are right.
        var rightPercent: Int
    }

    private enum Event {
        case guessed(UInt64, [SampledToken])
        case arrives(MicroBatch, stage: Int)
        case computed(MicroBatch, stage: Int)
        case answered(MicroBatch)
    }

    private struct Stage {
        let times: StageTimes
        var queue: [(batch: MicroBatch, since: Double)] = []
        var isBusy = false
        var batchCount = 0
        /// Spans of compute, for utilisation.
        var busy: [(from: Double, to: Double)] = []
    }

    private(set) var scheduler: HeadScheduler
    private(set) var now = 0.0
    private var stages: [Stage]
    /// Of each micro-batch under way, in the stages that computed it.
    private var times: [UInt64: [ShoalCore.StageTimes]] = [:]
    private let linkSeconds: Double
    /// Per frame, in the head and the engines: what even loopback costs.
    private let hopSeconds: Double
    private var events: [(time: Double, order: Int, event: Event)] = []
    private var eventCount = 0
    /// When each request's tokens came.
    private(set) var tokenTimes: [UInt64: [Double]] = [:]
    private(set) var batchSizes: [Int] = []
    /// What the model says at a position.
    private let text: (Int32) -> Int32
    private var expected: [SequenceID: (position: Int32, token: TokenID)] = [:]
    private var inFlightCount = 0
    private(set) var inFlightCountMax = 0
    private let draft: Draft?
    private(set) var draftModel = SimulatedDraft()
    /// When set, the draft model answers nothing any more.
    var isDraftStuck = false

    init(
        stages: [StageTimes], linkSeconds: Double, hopSeconds: Double = 0.0003, sequenceCount: Int,
        contextTokenCount: Int = 8192, speculation: SpeculationMode = .off, draft: Draft? = nil,
        text: @escaping (Int32) -> Int32 = { $0 }
    ) {
        self.draft = draft
        var configuration = HeadSchedulerConfiguration(
            headName: "head", contextTokenCount: contextTokenCount, sequenceCountMax: sequenceCount)
        configuration.stageCount = stages.count
        configuration.speculation = speculation
        configuration.unacknowledgedTokenCountMax = .max
        scheduler = HeadScheduler(configuration: configuration)
        self.stages = stages.map { Stage(times: $0) }
        self.text = text
        self.linkSeconds = linkSeconds
        self.hopSeconds = hopSeconds
        execute(scheduler.pipelineReady(generation: 1, now: .zero))
        if draft != nil { execute(scheduler.draftReady(now: .zero)) }
    }

    mutating func submit(_ id: UInt64, promptTokenCount: Int, outputTokenCount: Int) throws {
        // Prompts share nothing.
        let prompt = (0..<promptTokenCount).map { TokenID(rawValue: Int32(id) * 10_000 + Int32($0)) }
        let request = TokenizedRequest(
            id: RequestID(rawValue: id), promptTokens: prompt, outputTokenCountMax: outputTokenCount)
        execute(try scheduler.submit(request, now: clock))
    }

    /// Runs until `end` or until nothing happens any more.
    mutating func run(until end: Double) {
        while let next = events.indices.min(by: {
            (events[$0].time, events[$0].order) < (events[$1].time, events[$1].order)
        }),
            events[next].time <= end
        {
            let event = events.remove(at: next)
            now = event.time
            handle(event.event)
        }
        now = end
    }

    /// Share of the time from `start` to now in which the stage computed.
    func utilisation(ofStage index: Int, since start: Double) -> Double {
        let busy = stages[index].busy.reduce(0) { $0 + max(0, min($1.to, now) - max($1.from, start)) }
        return busy / (now - start)
    }

    /// Tokens of all answers from `start` to now, per second.
    func tokensPerSecond(since start: Double) -> Double {
        Double(tokenTimes.values.joined().count { $0 >= start && $0 <= now }) / (now - start)
    }

    private var clock: Duration { .seconds(now) }

    private mutating func schedule(_ event: Event, after seconds: Double) {
        eventCount += 1
        events.append((now + seconds, eventCount, event))
    }

    private mutating func handle(_ event: Event) {
        switch event {
        case .arrives(let batch, let stage):
            stages[stage].queue.append((batch, now))
            computeNext(stage)
        case .computed(let batch, let stage):
            stages[stage].isBusy = false
            let isLast = stage == stages.count - 1
            // The head is where the last stage is.
            schedule(
                isLast ? .answered(batch) : .arrives(batch, stage: stage + 1),
                after: hopSeconds + (isLast ? 0 : linkSeconds))
            computeNext(stage)
        case .answered(let batch):
            answer(batch)
        case .guessed(let number, let tokens):
            execute(scheduler.draftOutputsArrived(batchNumber: number, tokens: tokens, now: clock))
        }
    }

    private mutating func computeNext(_ stage: Int) {
        guard !stages[stage].isBusy, !stages[stage].queue.isEmpty else { return }
        let (batch, since) = stages[stage].queue.removeFirst()
        stages[stage].batchCount += 1
        let seconds = stages[stage].times.seconds(batch.entries.count, number: stages[stage].batchCount)
        stages[stage].isBusy = true
        times[batch.number, default: []].append(
            ShoalCore.StageTimes(
                queue: ShoalCore.StageTimes.microseconds(.seconds(now - since)),
                compute: ShoalCore.StageTimes.microseconds(.seconds(seconds))))
        stages[stage].busy.append((now, now + seconds))
        schedule(.computed(batch, stage: stage), after: seconds)
    }

    private mutating func answer(_ batch: MicroBatch) {
        inFlightCount -= 1
        let tokens = batch.entries.filter(\.wantsOutput).compactMap { entry -> SampledToken? in
            if let next = expected[entry.sequence], next != (entry.position, entry.token) { return nil }
            let token = TokenID(rawValue: text(entry.position + 1))
            expected[entry.sequence] = (entry.position + 1, token)
            return SampledToken(
                sequence: entry.sequence, token: token, piece: Array("x".utf8), isEndOfGeneration: false)
        }
        execute(
            scheduler.outputsArrived(
                batchNumber: batch.number, generation: 1, tokens: tokens,
                stages: times.removeValue(forKey: batch.number) ?? [], now: clock))
    }

    private mutating func execute(_ actions: [HeadSchedulerAction]) {
        for action in actions {
            switch action {
            case .send(let batch):
                inFlightCount += 1
                inFlightCountMax = max(inFlightCountMax, inFlightCount)
                batchSizes.append(batch.entries.count)
                schedule(.arrives(batch, stage: 0), after: hopSeconds + (stages.count > 1 ? linkSeconds : 0))
            case .emit(let id, .text(_, let tokens)):
                tokenTimes[id.rawValue, default: []] += Array(repeating: now, count: tokens.count)
            case .configureSampler(let sequence, _, _):
                expected[sequence] = nil
            case .draft(let batch):
                guess(batch)
            case .emit, .releaseSampler, .pipelineBroken, .draftBroken, .drained:
                break
            }
        }
    }

    private mutating func guess(_ batch: MicroBatch) {
        guard let draft else { return }
        let tokens = draftModel.compute(batch).map { sequence, cells in
            let position = Int32(cells.count)
            let isRight =
                SeededGenerator.mixed(UInt64(position) &* 7919 &+ UInt64(sequence.rawValue)) % 100 < draft.rightPercent
            return SampledToken(
                sequence: sequence, token: TokenID(rawValue: isRight ? text(position) : text(position) + 1_000_000),
                piece: [],
                isEndOfGeneration: false)
        }
        guard !isDraftStuck else { return }
        let seconds = draft.times.seconds(batch.entries.count, number: 0)
        schedule(.guessed(batch.number, tokens), after: seconds + hopSeconds)
    }
}
