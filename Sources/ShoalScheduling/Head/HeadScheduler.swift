package import ShoalCore

/// The head's iteration-level scheduler, as a value: which sequences run, and what the next micro-batches hold.
///
/// The head's actor calls one event method per fact and executes the actions it returns, in order. Time comes in as
/// `now`, a duration since any fixed instant of a monotonic clock. Nothing here waits, allocates without bound, or
/// fails on what a peer sends.
///
/// Rules:
/// - Continuous batching. Every micro-batch holds first the decode tokens that are due, then prompt tokens. Several
///   micro-batches are under way at once; a sequence has at most one decode token among them, while chunks of its
///   prompt follow each other without waiting.
/// - How many micro-batches are under way, into how many groups decoding sequences split, and how large the portions
///   of prompts are follows from measured times (`PipelinePacing`).
/// - Prompts take turns, micro-batch by micro-batch; so do decoding sequences.
/// - A prompt continues or copies the cells of the sequence that shares most of it (`HeadScheduler+Prefixes`).
/// - A request is refused when its prompt leaves no room in the context, and waits until a sequence and cells for its
///   longest answer are free. First come, first served: a large request is not overtaken, so it cannot starve.
/// - A reader that falls behind pauses its own sequence only.
/// - A lost pipeline loses no answer: what the stages held is sent again when it was rebuilt.
///
/// Outputs that nobody waits for (of an earlier generation, of a micro-batch that came back already, of an ended
/// request) are legitimate races and dropped. Outputs that never can have been asked for break the protocol and the
/// pipeline.
package struct HeadScheduler: Sendable {
    /// Whether micro-batches may be sent.
    enum Pipeline: Sendable {
        case absent
        case ready
        case stopped(ShoalError)
    }

    package let configuration: HeadSchedulerConfiguration
    /// Of the pipeline; frames of another are not ours.
    package private(set) var generation: UInt32 = 0

    var pipeline = Pipeline.absent
    var isDraining = false
    var isDrainedTold = false
    var queue: [QueuedRequest] = []
    /// Indexed by sequence ID.
    var slots: [SequenceSlot]
    var sequences: [RequestID: SequenceID] = [:]
    var admissionCount: UInt64 = 0
    /// Running sequences, the one whose turn it is first.
    var promptTurns: [SequenceID] = []
    var decodeTurns: [SequenceID] = []
    /// Sequences whose cells the next micro-batch removes.
    var pendingRemovals: [SequenceID] = []
    /// In the order sent.
    var inFlight: [BatchInFlight] = []
    var nextBatchNumber: UInt64 = 0
    /// Since the last one that came back whole.
    var failedBatchCount = 0
    var pacing: PipelinePacing
    var drafting: DraftScheduler
    /// Share of the draft model's guesses that were right, in all answers; those that begin start with it.
    var modelAcceptance = HeadScheduler.firstModelAcceptance
    var probe = DraftProbe()
    /// Since the head began.
    package internal(set) var counters = HeadCounters()

    /// Nothing is sent before `pipelineReady`. Traps when `configuration` contradicts itself: that is our bug.
    package init(configuration: HeadSchedulerConfiguration) {
        precondition(configuration.isConsistent, "contradictory scheduler configuration: \(configuration)")
        self.configuration = configuration
        slots = Array(repeating: SequenceSlot(), count: configuration.sequenceCountMax)
        pacing = PipelinePacing(configuration)
        drafting = DraftScheduler(
            sequenceCountMax: configuration.sequenceCountMax, vocabularyTokenCount: configuration.vocabularyTokenCount)
    }

    // MARK: What reports show

    package var runningRequestCount: Int { sequences.count }
    package var queuedRequestCount: Int { queue.count }

    /// Sequences of requests, sorted: running, or ended with micro-batches still under way.
    package var sequencesInUse: [SequenceID] { sequences { !$0.isIdle } }

    /// Sequences of no request that keep their cells for prompts to come, sorted.
    package var cachedSequences: [SequenceID] { sequences { $0.isIdle && !$0.cells.isEmpty } }

    /// Cells that running and retiring sequences reserve; never above `kvTokenCapacity`.
    package var reservedCellCount: Int { slots.reduce(0) { $0 + $1.reservedCellCount } }

    private func sequences(where isIncluded: (SequenceSlot) -> Bool) -> [SequenceID] {
        slots.indices.filter { isIncluded(slots[$0]) }.map { SequenceID(rawValue: Int32($0)) }
    }

    /// When the oldest micro-batch under way was sent; nil when there is none. For a watchdog.
    package var workInFlightSince: Duration? { inFlight.first?.sentAt }

    // MARK: Events

    /// A request came. Throws, and forgets it, when it is wrong (`invalidRequest`), too long (`contextOverflow`), when
    /// the queue is full (`overloaded`), or when this head takes no more requests (`unavailable`).
    package mutating func submit(_ request: TokenizedRequest, now: Duration) throws(ShoalError) -> [HeadSchedulerAction]
    {
        if case .stopped(let error) = pipeline { throw error }
        guard !isDraining else {
            throw ShoalError(.unavailable, "the model is being unloaded; send the request again when it is loaded")
        }
        try request.validate(contextTokenCount: configuration.contextTokenCount)
        guard sequences[request.id] == nil, !queue.contains(where: { $0.request.id == request.id }) else {
            throw ShoalError(.invalidRequest, "request \(request.id) is running already; use a new id")
        }
        guard queue.count < configuration.queuedRequestCountMax else {
            throw ShoalError(
                .overloaded,
                "\(queue.count) requests are waiting already (limit \(configuration.queuedRequestCountMax)); try later")
        }
        queue.append(QueuedRequest(request: request, submittedAt: now))
        let started = GenerationEvent.started(
            promptTokenCount: request.promptTokens.count, headName: configuration.headName)
        return [.emit(request.id, started)] + proceed(now: now)
    }

    /// The reader gave up. An unknown ID is one that ended meanwhile.
    package mutating func cancel(_ id: RequestID, now: Duration) -> [HeadSchedulerAction] {
        let error = ShoalError(.cancelled, "the request was cancelled")
        if let index = queue.firstIndex(where: { $0.request.id == id }) {
            queue.remove(at: index)
            return [.emit(id, .failed(error))] + proceed(now: now)
        }
        guard let sequence = sequences[id] else { return [] }
        return end(sequence, .failed(error), now: now) + proceed(now: now)
    }

    /// The last stage refused the sampler that `configureSampler` asked for, a bad grammar for example: that request
    /// fails.
    package mutating func samplerRefused(
        _ sequence: SequenceID, error: ShoalError, now: Duration
    ) -> [HeadSchedulerAction] {
        guard slots.indices.contains(Int(sequence.rawValue)) else { return [] }
        return end(sequence, .failed(error), now: now) + proceed(now: now)
    }

    /// The reader took `tokenCount` tokens more of what `text` events told.
    package mutating func consumed(_ id: RequestID, tokenCount: Int, now: Duration) -> [HeadSchedulerAction] {
        guard let sequence = sequences[id], tokenCount > 0 else { return [] }
        update(sequence) { request in
            // A reader that claims more than it was told has taken everything.
            request.unacknowledgedTokenCount -= min(tokenCount, request.unacknowledgedTokenCount)
        }
        return proceed(now: now)
    }

    /// Every stage is loaded, forgot all sequences and samplers, and works in `generation`: at first and after
    /// recovery. Running requests go on where their answers are.
    package mutating func pipelineReady(generation: UInt32, now: Duration) -> [HeadSchedulerAction] {
        if case .stopped = pipeline { return [] }
        let failed: [HeadSchedulerAction]
        if case .ready = pipeline {
            failed = rewindRunning(ShoalError(.unavailable, "the pipeline was rebuilt under the request"))
        } else {
            failed = []
        }
        self.generation = generation
        pipeline = .ready
        let samplers = promptTurns.compactMap { slots[Int($0.rawValue)].running }.map {
            HeadSchedulerAction.configureSampler($0.sequence, $0.request.sampling, $0.samplerHistory)
        }
        return failed + samplers + proceed(now: now)
    }

    /// A stage is gone, and with it the KV cache as a whole. Running and queued requests wait for `pipelineReady`,
    /// unless the head is draining, when no pipeline will come. Requests under which pipelines are lost again and again
    /// fail with `error`.
    package mutating func pipelineLost(_ error: ShoalError) -> [HeadSchedulerAction] {
        if case .stopped = pipeline { return [] }
        let wasReady: Bool
        if case .ready = pipeline { wasReady = true } else { wasReady = false }
        pipeline = .absent
        guard !isDraining else {
            let actions = loseRunning(error) + loseQueued(error)
            forgetStages()
            return actions + drainedIfEmpty()
        }
        return wasReady ? rewindRunning(error) : []
    }

    /// No more requests are taken; those that were taken end by themselves, then `drained` follows.
    package mutating func drain() -> [HeadSchedulerAction] {
        guard !isDraining else { return [] }
        isDraining = true
        return drainedIfEmpty()
    }

    /// Everything is lost here, queued requests too; another head may go on with them. Later ones are refused with
    /// `error`.
    package mutating func stop(_ error: ShoalError) -> [HeadSchedulerAction] {
        if case .stopped = pipeline { return [] }
        let actions = loseRunning(error) + loseQueued(error)
        forgetStages()
        sequences = [:]
        pipeline = .stopped(error)
        return actions
    }

    // MARK: Ends

    /// Ends a running request: its reader hears `event`, its sequence retires.
    mutating func end(_ sequence: SequenceID, _ event: GenerationEvent, now: Duration) -> [HeadSchedulerAction] {
        assert(event.isTerminal)
        let index = Int(sequence.rawValue)
        guard let running = slots[index].running else { return [] }
        slots[index].occupant = .retiring(reservedCellCount: running.reservedCellCount)
        slots[index].lastUsedAt = now
        sequences[running.request.id] = nil
        promptTurns.removeAll { $0 == sequence }
        decodeTurns.removeAll { $0 == sequence }
        return [.emit(running.request.id, event)] + idleIfUnmentioned(sequence)
    }

    /// A retiring sequence is idle once no micro-batch under way mentions it.
    mutating func idleIfUnmentioned(_ sequence: SequenceID) -> [HeadSchedulerAction] {
        let index = Int(sequence.rawValue)
        guard case .retiring = slots[index].occupant, slots[index].mentionCount == 0 else { return [] }
        slots[index].occupant = .idle
        if slots[index].isDirty { removeCells(of: sequence) }
        // Without a pipeline the last stage holds no sampler, or will have forgotten it when there is one.
        guard case .ready = pipeline else { return [] }
        return [.releaseSampler(sequence)]
    }

    /// The next micro-batch removes them, before its entries.
    mutating func removeCells(of sequence: SequenceID) {
        slots[Int(sequence.rawValue)].cells = []
        slots[Int(sequence.rawValue)].hasSurplus = false
        slots[Int(sequence.rawValue)].isDirty = false
        if !pendingRemovals.contains(sequence) { pendingRemovals.append(sequence) }
        // One per sequence at most, which Limits.kvOperationCountMax allows for.
        assert(pendingRemovals.count <= configuration.sequenceCountMax)
    }

    mutating func update(_ sequence: SequenceID, _ change: (inout RunningRequest) -> Void) {
        let index = Int(sequence.rawValue)
        guard case .running(var running) = slots[index].occupant else { return }
        // Leaves one owner of the request's tokens, so that changing them does not copy them.
        slots[index].occupant = .idle
        change(&running)
        slots[index].occupant = .running(running)
    }

    /// Everything that the stages held is to be sent again, oldest request first.
    private mutating func rewindRunning(_ error: ShoalError) -> [HeadSchedulerAction] {
        forgetStages()
        var actions: [HeadSchedulerAction] = []
        let running = slots.compactMap(\.running).sorted { $0.admissionNumber < $1.admissionNumber }
        let (lossCountMax, progress) = (configuration.lossCountMax, configuration.lossProgressTokenCount)
        for request in running {
            var mayGoOn = true
            update(request.sequence) {
                mayGoOn = $0.rewind(lossCountMax: lossCountMax, progressTokenCount: progress)
            }
            if mayGoOn {
                promptTurns.append(request.sequence)
                counters.resumedRequestCount += 1
            } else {
                slots[Int(request.sequence.rawValue)].occupant = .idle
                sequences[request.request.id] = nil
                actions.append(.emit(request.request.id, .failed(error)))
            }
        }
        return actions
    }

    /// The stages forget everything, so there are no removals and no sampler releases.
    private mutating func loseRunning(_ error: ShoalError) -> [HeadSchedulerAction] {
        let running = slots.compactMap(\.running)
        for request in running { slots[Int(request.sequence.rawValue)].occupant = .idle }
        sequences = [:]
        return running.map { .emit($0.request.id, .lost(error)) }
    }

    private mutating func loseQueued(_ error: ShoalError) -> [HeadSchedulerAction] {
        defer { queue = [] }
        return queue.map { .emit($0.request.id, .lost(error)) }
    }

    /// Nothing is under way and no cell is held; running requests stay where they are.
    private mutating func forgetStages() {
        for index in slots.indices {
            if case .retiring = slots[index].occupant { slots[index].occupant = .idle }
            slots[index].mentionCount = 0
            slots[index].cells = []
            slots[index].hasSurplus = false
            slots[index].isDirty = false
        }
        promptTurns = []
        decodeTurns = []
        pendingRemovals = []
        inFlight = []
        nextBatchNumber = 0
        failedBatchCount = 0
    }

    /// `drained`, once.
    mutating func drainedIfEmpty() -> [HeadSchedulerAction] {
        guard isDraining, !isDrainedTold, sequences.isEmpty, queue.isEmpty else { return [] }
        isDrainedTold = true
        return [.drained]
    }
}
