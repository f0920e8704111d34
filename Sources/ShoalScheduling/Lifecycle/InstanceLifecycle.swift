package import ShoalCore

/// The life of an instance as its head node sees it, as a value: which stage is told what, and when the instance is
/// ready, recovers, gives up or ends.
///
///     placing -> starting -> loading -> warming -> ready -> draining -> stopped
///                    |          |          |         |
///                    +----------+----------+---------+--> recovering -> warming -> ready
///                    |          |          |         |        |
///                    +----------+----------+---------+--------+--> failed
///
/// Only the commands of the current generation count for readiness. A failure raises the generation, so whatever the
/// old pipeline still says is recognised as old; after a delay `reconcile` tells each stage what it lacks: an absent
/// one is loaded, a loaded one reset, one that is still loading is awaited and reset afterwards.
///
/// Events of a stage that no longer fit its condition are legitimate races and change nothing. Time is a duration since
/// any fixed instant of a monotonic clock.
package struct InstanceLifecycle: Sendable {
    package let configuration: InstanceLifecycleConfiguration
    package var phase: InstancePhase { phases.phase }
    /// At most `phaseRecordCountMax` of them.
    package private(set) var phases: PhaseHistory
    /// Of the pipeline; counts up with every recovery.
    package private(set) var generation: UInt32 = 0
    package private(set) var stages: [StageState]
    /// Why the instance recovers or failed; nil once it is ready.
    package private(set) var problem: ShoalError?

    /// Of failures that count for the crash loop, oldest first; bounded by `crashLoopFailureCountMax`.
    private var failureTimes: [Duration] = []
    /// Failures since the instance was last ready.
    private var failuresInRow = 0
    private var recoveringSince: Duration?
    private var retryNumber = 0
    private var isRetryPending = false
    private var progressedAt: Duration
    private var isWarmingUp = false
    private var wasReady = false
    private var isStopping = false

    /// `stageCount` is at least 1; anything else is our bug.
    package init(stageCount: Int, configuration: InstanceLifecycleConfiguration, now: Duration) {
        precondition((1...Limits.stageCountMax).contains(stageCount), "an instance of \(stageCount) stages")
        self.configuration = configuration
        stages = Array(repeating: StageState(), count: stageCount)
        phases = PhaseHistory(phase: .placing, recordCountMax: configuration.phaseRecordCountMax, now: now)
        progressedAt = now
    }

    // MARK: The owner's commands

    /// The stages have their nodes: bring them up.
    package mutating func start(now: Duration) -> [InstanceLifecycleAction] {
        guard phase == .placing else { return [] }
        generation = 1
        phases.enter(.starting, now: now)
        return reconcile(now: now)
    }

    /// No new requests; the stages stay until `stop`.
    package mutating func drain(now: Duration) {
        guard phase == .ready else { return }
        phases.enter(.draining, now: now)
    }

    /// Ends the instance on every node, from any phase.
    package mutating func stop(now: Duration) -> [InstanceLifecycleAction] {
        guard phase != .stopped, !isStopping else { return [] }
        isStopping = true
        isRetryPending = false
        isWarmingUp = false
        if phase != .failed { phases.enter(.draining, now: now) }
        let error = ShoalError(.unavailable, "the instance was stopped")
        return [.failRequests(error)] + unloadAll() + stoppedIfUnloaded(now: now)
    }

    // MARK: What stages say

    package mutating func stageEngineStarted(_ stage: Int, generation: UInt32, now: Duration) {
        guard isAwaited(stage), stages[stage].condition == .starting(generation: generation) else { return }
        stages[stage].condition = .loading(generation: generation)
        progressedAt = now
        enterLoadingIfStarted(now: now)
    }

    /// `fraction`: 0 to 1. Only more than before is progress.
    package mutating func stageLoadProgressed(_ stage: Int, generation: UInt32, fraction: Double, now: Duration) {
        guard isAwaited(stage), stages[stage].loadGeneration == generation else { return }
        stages[stage].condition = .loading(generation: generation)
        stages[stage].lostSince = nil
        enterLoadingIfStarted(now: now)
        guard fraction > stages[stage].loadProgress, fraction <= 1 else { return }
        stages[stage].loadProgress = fraction
        progressedAt = now
    }

    package mutating func stageLoaded(_ stage: Int, generation: UInt32, now: Duration) -> [InstanceLifecycleAction] {
        guard isAwaited(stage), stages[stage].loadGeneration == generation else { return [] }
        stages[stage].condition = .loaded(generation: generation)
        stages[stage].loadProgress = 1
        stages[stage].problem = nil
        stages[stage].lostSince = nil
        progressedAt = now
        enterLoadingIfStarted(now: now)
        return reconcile(now: now)
    }

    package mutating func stageReset(_ stage: Int, generation: UInt32, now: Duration) -> [InstanceLifecycleAction] {
        guard isAwaited(stage), stages[stage].condition == .resetting(generation: generation) else { return [] }
        stages[stage].condition = .loaded(generation: generation)
        stages[stage].lostSince = nil
        progressedAt = now
        return reconcile(now: now)
    }

    /// Loading or resetting was refused or went wrong. Whatever the engine still holds is unusable.
    package mutating func stageFailed(
        _ stage: Int, generation: UInt32, error: ShoalError, now: Duration
    ) -> [InstanceLifecycleAction] {
        guard isAwaited(stage) else { return [] }
        let isResetting = stages[stage].condition == .resetting(generation: generation)
        guard isResetting || stages[stage].loadGeneration == generation else { return [] }
        return lose(stage, error, now: now)
    }

    /// The stage's engine died, or its node cannot be reached. `engineGeneration` is that of the `loadStage` which made
    /// the engine, so that late news of an earlier engine is recognised; nil means whichever runs.
    package mutating func stageLost(
        _ stage: Int, engineGeneration: UInt32? = nil, error: ShoalError, now: Duration
    ) -> [InstanceLifecycleAction] {
        guard stages.indices.contains(stage), stages[stage].condition != .absent else { return [] }
        guard engineGeneration == nil || engineGeneration == stages[stage].engineGeneration else { return [] }
        guard !isStopping, phase != .failed else {
            // It holds nothing any more, which is what was wanted.
            return stageUnloaded(stage, now: now)
        }
        return lose(stage, error, now: now)
    }

    /// The stage's node can be reached again: what waits for it is tried at once.
    package mutating func nodeReturned(_ stage: Int, now: Duration) -> [InstanceLifecycleAction] {
        guard isAwaited(stage), stages[stage].lostSince != nil else { return [] }
        stages[stage].lostSince = nil
        guard isRetryPending, stages.allSatisfy({ $0.lostSince == nil }) else { return [] }
        return retryTimerFired(number: retryNumber, now: now)
    }

    package mutating func stageUnloaded(_ stage: Int, now: Duration) -> [InstanceLifecycleAction] {
        guard stages.indices.contains(stage), stages[stage].condition == .unloading else { return [] }
        stages[stage].condition = .absent
        return stoppedIfUnloaded(now: now)
    }

    /// The pipeline as a whole cannot be trusted, though every engine lives: outputs that nobody asked for, for
    /// example.
    package mutating func pipelineBroken(
        generation: UInt32, error: ShoalError, now: Duration
    ) -> [InstanceLifecycleAction] {
        guard generation == self.generation, isUp else { return [] }
        return recover(from: error, now: now)
    }

    package mutating func warmUpSucceeded(generation: UInt32, now: Duration) -> [InstanceLifecycleAction] {
        guard isWarmingUp, generation == self.generation else { return [] }
        isWarmingUp = false
        wasReady = true
        failuresInRow = 0
        recoveringSince = nil
        problem = nil
        phases.enter(.ready, now: now)
        return [.becomeReady(generation: generation)]
    }

    package mutating func warmUpFailed(
        generation: UInt32, error: ShoalError, now: Duration
    ) -> [InstanceLifecycleAction] {
        guard isWarmingUp, generation == self.generation else { return [] }
        return recover(from: error, now: now)
    }

    // MARK: Time

    package mutating func retryTimerFired(number: Int, now: Duration) -> [InstanceLifecycleAction] {
        guard isRetryPending, number == retryNumber else { return [] }
        isRetryPending = false
        progressedAt = now
        return reconcile(now: now)
    }

    /// To be called now and then: gives up when a node stays away for too long, or when nothing has moved for
    /// `stalledDurationMax` although something should.
    package mutating func tick(now: Duration) -> [InstanceLifecycleAction] {
        if let lost = nodeLostForGood(now: now) { return fail(lost, now: now) }
        let isAwaitingProgress = [.starting, .loading, .warming, .recovering].contains(phase)
        guard isAwaitingProgress, !isRetryPending, now - progressedAt > configuration.stalledDurationMax else {
            return []
        }
        let limit = configuration.stalledDurationMax
        return fail(
            ShoalError(.timedOut, "\(awaitedParts()): no progress for \(limit); see the log of the node concerned"),
            now: now)
    }

    /// Why the instance cannot wait for a lost node any longer; nil while it can.
    private func nodeLostForGood(now: Duration) -> ShoalError? {
        let grace = wasReady ? configuration.lostNodeGrace : configuration.lostNodeGraceAtLaunch
        guard !isStopping, phase != .failed, phase != .draining,
            let lost = stages.first(where: { $0.lostSince.map { now - $0 > grace } ?? false })
        else { return nil }
        let problem = lost.problem ?? ShoalError(.linkLost, "a node was lost")
        return ShoalError(.linkLost, "\(problem.message); it was not back after \(grace)")
    }

    // MARK: Recovery

    private mutating func lose(_ stage: Int, _ error: ShoalError, now: Duration) -> [InstanceLifecycleAction] {
        stages[stage].condition = .absent
        stages[stage].loadProgress = 0
        let isNodeLost = error.code == .linkLost
        // Attempts to reach a lost node say less than what first was wrong with it.
        if !isNodeLost || stages[stage].lostSince == nil { stages[stage].problem = error }
        stages[stage].lostSince = isNodeLost ? stages[stage].lostSince ?? now : nil
        return recover(from: error, now: now)
    }

    private mutating func recover(from error: ShoalError, now: Duration) -> [InstanceLifecycleAction] {
        // What is being unloaded is not built up again.
        guard phase != .draining else { return [.failRequests(error)] }
        guard !error.code.isBeyondRecovery else { return fail(error, now: now) }
        let since = recoveringSince ?? now
        recoveringSince = since
        noteFailure(error, now: now)
        if let reason = reasonToGiveUp(error, since: since, now: now) { return fail(reason, now: now) }
        let wasUp = isUp
        problem = error
        isWarmingUp = false
        phases.enter(.recovering, because: error, now: now)
        let requests = wasUp ? [InstanceLifecycleAction.failRequests(error)] : []
        // Several stages lost together are one failure, answered by one attempt.
        guard !isRetryPending else { return requests }
        generation += 1
        failuresInRow += 1
        isRetryPending = true
        retryNumber += 1
        return requests + [.scheduleRetry(after: retryDelay(), number: retryNumber)]
    }

    private mutating func noteFailure(_ error: ShoalError, now: Duration) {
        guard error.code != .linkLost, !isRetryPending else { return }
        failureTimes = failureTimes.filter { now - $0 <= configuration.crashLoopWindow }
        failureTimes.append(now)
    }

    private func reasonToGiveUp(_ error: ShoalError, since: Duration, now: Duration) -> ShoalError? {
        if failureTimes.count >= configuration.crashLoopFailureCountMax, error.code != .linkLost {
            return error.during("giving up after \(failureTimes.count) failures in \(configuration.crashLoopWindow)")
        }
        guard now - since > configuration.recoveryDurationMax else { return nil }
        return error.during("giving up after recovering for \(configuration.recoveryDurationMax)")
    }

    private func retryDelay() -> Duration {
        // Doubling past 2^16 is far beyond any sensible `retryDelayMax`.
        let doublings = min(failuresInRow - 1, 16)
        return min(configuration.retryDelayMin * (1 << doublings), configuration.retryDelayMax)
    }

    private mutating func fail(_ error: ShoalError, now: Duration) -> [InstanceLifecycleAction] {
        problem = error
        isRetryPending = false
        isWarmingUp = false
        phases.enter(.failed, because: error, now: now)
        return [.failRequests(error), .becameFailed(error)] + unloadAll()
    }

    /// Tells every stage what it lacks for the current generation, and warms up when none lacks anything.
    private mutating func reconcile(now: Duration) -> [InstanceLifecycleAction] {
        guard !isRetryPending, !isUp, !isWarmingUp else { return [] }
        let actions = stages.indices.compactMap { reconcile(stage: $0) }
        guard stages.allSatisfy({ $0.condition == .loaded(generation: generation) }) else { return actions }
        isWarmingUp = true
        progressedAt = now
        phases.enter(.warming, now: now)
        return actions + [.runWarmUp(generation: generation)]
    }

    private mutating func reconcile(stage: Int) -> InstanceLifecycleAction? {
        switch stages[stage].condition {
        case .absent:
            stages[stage].condition = .starting(generation: generation)
            stages[stage].restartCount += stages[stage].engineGeneration == 0 ? 0 : 1
            stages[stage].engineGeneration = generation
            return .loadStage(stage, generation: generation)
        case .loaded(let held), .resetting(let held):
            guard held != generation else { return nil }
            stages[stage].condition = .resetting(generation: generation)
            return .resetStage(stage, generation: generation)
        case .starting, .loading, .unloading:
            return nil
        }
    }

    // MARK: Phases and ends

    /// Whether requests may be running.
    private var isUp: Bool { phase == .ready || (phase == .draining && !isStopping) }

    private func isAwaited(_ stage: Int) -> Bool {
        stages.indices.contains(stage) && !isStopping && phase != .failed
    }

    private mutating func enterLoadingIfStarted(now: Duration) {
        guard phase == .starting else { return }
        let areStarted = stages.allSatisfy { stage in
            if case .starting = stage.condition { false } else { true }
        }
        if areStarted { phases.enter(.loading, now: now) }
    }

    private mutating func unloadAll() -> [InstanceLifecycleAction] {
        stages.indices.compactMap { stage in
            guard stages[stage].condition != .absent, stages[stage].condition != .unloading else { return nil }
            stages[stage].condition = .unloading
            return .unloadStage(stage)
        }
    }

    private mutating func stoppedIfUnloaded(now: Duration) -> [InstanceLifecycleAction] {
        guard isStopping, phase != .stopped, stages.allSatisfy({ $0.condition == .absent }) else { return [] }
        phases.enter(.stopped, now: now)
        return [.becameStopped]
    }

    private func awaitedParts() -> String {
        let awaited = stages.indices.filter { stages[$0].condition != .loaded(generation: generation) }
        guard !awaited.isEmpty else { return "warming up" }
        return awaited.map { "stage \($0) (\(Int(stages[$0].loadProgress * 100)) %)" }.joined(separator: ", ")
    }
}

extension ShoalError.Code {
    /// Whether the same attempt must fail again: the file, the family or the placement is wrong, or memory too small.
    fileprivate var isBeyondRecovery: Bool {
        let codes: [ShoalError.Code] = [
            .unsupportedFamily, .malformedModel, .fileUnreadable, .invalidPlacement, .insufficientMemory,
        ]
        return codes.contains(self)
    }
}
