package import ShoalCore

/// The life of an instance of the rpc engine as its head sees it, as a value.
///
///     placing -> starting -> verifying -> launching -> handshaking -> loading -> warming -> ready
///                (workers)   (again, at   (llama-server) (it takes     (tensors)  (a token)
///                             the last                    devices)
///                             moment)
///
/// llama-server aborts when a worker is lost, and a worker's buffers die with llama-server's connection, so every
/// failure has one answer: end llama-server, wait, and begin with the workers again, in a new generation. Workers that
/// live stay. Events of another generation than the present one are legitimate races and change nothing.
package struct RPCLifecycle: Sendable {
    package let configuration: RPCLifecycleConfiguration
    package var phase: InstancePhase { phases.phase }
    /// At most `phaseRecordCountMax` of them.
    package private(set) var phases: PhaseHistory
    /// Counts up with every recovery.
    package private(set) var generation: UInt32 = 0
    package private(set) var workers: [WorkerState]
    /// Why the instance recovers or failed; nil once it is ready.
    package private(set) var problem: ShoalError?
    /// Launches of llama-server so far.
    package private(set) var launchCount = 0

    private var server = ServerState.absent
    private var failuresInRow = 0
    private var failureTimes: [Duration] = []
    private var recoveringSince: Duration?
    private var retryNumber = 0
    private var isRetryPending = false
    private var isStopping = false
    private var progressedAt: Duration
    private var startedAt: Duration

    /// One worker as the head sees it.
    package struct WorkerState: Hashable, Sendable {
        /// When it had started and answered as a worker, for the present launch; nil while it is awaited.
        package internal(set) var preparedAt: Duration?
        package var isPrepared: Bool { preparedAt != nil }
        package internal(set) var startCount = 0
        package internal(set) var problem: ShoalError?
    }

    private enum ServerState: Hashable, Sendable { case absent, running, ending }

    package enum Action: Hashable, Sendable {
        /// Start the worker if it is not running, and verify it by protocol. Answered by `workerPrepared` or
        /// `workerFailed`.
        case prepareWorker(Int, generation: UInt32)
        /// Look at all workers once more, right before the launch. Answered by `workersVerified` or `workerFailed`.
        case verifyWorkers(generation: UInt32)
        /// Answered by `serverStarted`, `serverMoved`, `serverProven`, or `serverEnded`, or `serverFailed`.
        case launchServer(generation: UInt32)
        /// End llama-server, at once. Answered by `serverEnded`.
        case endServer
        case releaseWorker(Int)
        case scheduleRetry(after: Duration, number: Int)
        case becameReady(generation: UInt32)
        case becameUnready(ShoalError)
        case becameFailed(ShoalError)
        case becameStopped
    }

    package init(workerCount: Int, configuration: RPCLifecycleConfiguration = .init(), now: Duration) {
        self.configuration = configuration
        workers = Array(repeating: WorkerState(), count: workerCount)
        phases = PhaseHistory(phase: .placing, recordCountMax: configuration.phaseRecordCountMax, now: now)
        progressedAt = now
        startedAt = now
    }

    // MARK: The owner's commands

    package mutating func start(now: Duration) -> [Action] {
        guard phase == .placing else { return [] }
        return begin(now: now)
    }

    /// No new requests are wanted; what runs may end before `stop`.
    package mutating func drain(now: Duration) -> [Action] {
        guard phase == .ready else { return [] }
        phases.enter(.draining, now: now)
        return []
    }

    /// Ends everything, from any phase.
    package mutating func stop(now: Duration) -> [Action] {
        guard !isStopping, phase != .stopped else { return [] }
        isStopping = true
        isRetryPending = false
        if phase != .failed { phases.enter(.draining, now: now) }
        let error = ShoalError(.unavailable, "the instance was stopped")
        return [.becameUnready(error)] + endServer() + releaseIfServerIsGone(now: now)
    }

    // MARK: Workers

    package mutating func workerPrepared(_ worker: Int, generation: UInt32, now: Duration) -> [Action] {
        guard isCurrent(generation), workers.indices.contains(worker), phase == .starting || phase == .recovering
        else { return [] }
        workers[worker].preparedAt = now
        workers[worker].startCount += 1
        workers[worker].problem = nil
        progressedAt = now
        guard workers.allSatisfy(\.isPrepared) else { return [] }
        phases.enter(.verifying, now: now)
        return [.verifyWorkers(generation: generation)]
    }

    package mutating func workersVerified(generation: UInt32, now: Duration) -> [Action] {
        guard isCurrent(generation), phase == .verifying else { return [] }
        progressedAt = now
        phases.enter(.launching, now: now)
        server = .running
        launchCount += 1
        return [.launchServer(generation: generation)]
    }

    /// The worker could not be started, verified, or is not what it was.
    package mutating func workerFailed(
        _ worker: Int, generation: UInt32, error: ShoalError, now: Duration
    ) -> [Action] {
        guard isCurrent(generation), workers.indices.contains(worker) else { return [] }
        return lose(worker, error, now: now)
    }

    /// The worker's process ended, or its node is gone. Nothing is computed any more, wherever the launch is.
    package mutating func workerLost(_ worker: Int, error: ShoalError, now: Duration) -> [Action] {
        guard workers.indices.contains(worker), !isStopping, phase != .failed, phase != .placing else { return [] }
        // Known already, or awaited: a retry prepares it again in any case.
        guard !isRetryPending else {
            workers[worker].problem = error
            return []
        }
        return lose(worker, error, now: now)
    }

    // MARK: The server

    /// A sign of progress; `phase` is where the launch is now, at least.
    package mutating func serverMoved(to next: InstancePhase, generation: UInt32, now: Duration) {
        guard isCurrent(generation), server == .running, !isRetryPending else { return }
        progressedAt = now
        let order: [InstancePhase] = [.launching, .handshaking, .loading, .warming]
        guard let from = order.firstIndex(of: phase), let to = order.firstIndex(of: next), to > from else { return }
        phases.enter(next, now: now)
    }

    /// Something moved, such as bytes to a worker.
    package mutating func progressed(now: Duration) { progressedAt = now }

    /// Everything that readiness asks for was seen.
    package mutating func serverProven(generation: UInt32, now: Duration) -> [Action] {
        guard isCurrent(generation), server == .running, !isRetryPending, phase.isLaunch else { return [] }
        failuresInRow = 0
        recoveringSince = nil
        problem = nil
        phases.enter(.ready, now: now)
        return [.becameReady(generation: generation)]
    }

    /// It cannot become ready, or computes nothing any more: end it.
    package mutating func serverFailed(generation: UInt32, error: ShoalError, now: Duration) -> [Action] {
        guard isCurrent(generation), server == .running else { return [] }
        return recover(from: error, now: now)
    }

    /// Its process is gone; `error` says why, nil when that was wanted.
    package mutating func serverEnded(error: ShoalError?, now: Duration) -> [Action] {
        let wasRunning = server == .running
        server = .absent
        if isStopping || phase == .failed { return releaseIfServerIsGone(now: now) }
        guard wasRunning, !isRetryPending else { return [] }
        return recover(from: error ?? ShoalError(.engineLost, "llama-server ended"), now: now)
    }

    // MARK: Time

    package mutating func retryTimerFired(number: Int, now: Duration) -> [Action] {
        guard isRetryPending, number == retryNumber else { return [] }
        // A process that does not go is waited for; `tick` gives up on it.
        guard server == .absent else {
            retryNumber += 1
            return [.scheduleRetry(after: configuration.retryDelayMin, number: retryNumber)]
        }
        isRetryPending = false
        return begin(now: now)
    }

    /// To be called now and then: gives up on a launch that does not move. The limit is on lack of progress.
    package mutating func tick(now: Duration) -> [Action] {
        guard phase.isLaunch || phase == .starting || phase == .verifying, !isRetryPending,
            now - progressedAt > configuration.stalledDurationMax
        else { return [] }
        let limit = configuration.stalledDurationMax
        return recover(
            from: ShoalError(.timedOut, "\(phase.rawValue) made no progress for \(limit)"), now: now)
    }

    package mutating func workersReleased(now: Duration) -> [Action] {
        guard isStopping, phase != .stopped else { return [] }
        phases.enter(.stopped, now: now)
        return [.becameStopped]
    }

    // MARK: Recovery

    private mutating func begin(now: Duration) -> [Action] {
        generation += 1
        progressedAt = now
        phases.enter(.starting, now: now)
        for index in workers.indices { workers[index].preparedAt = nil }
        guard !workers.isEmpty else {
            phases.enter(.verifying, now: now)
            return [.verifyWorkers(generation: generation)]
        }
        return workers.indices.map { .prepareWorker($0, generation: generation) }
    }

    private mutating func lose(_ worker: Int, _ error: ShoalError, now: Duration) -> [Action] {
        workers[worker].preparedAt = nil
        workers[worker].problem = error
        return recover(from: error, now: now)
    }

    private mutating func recover(from error: ShoalError, now: Duration) -> [Action] {
        guard !isStopping, phase != .failed else { return [] }
        guard !isRetryPending else { return [] }
        let wasReady = phase == .ready || phase == .draining
        let unready: [Action] = wasReady ? [.becameUnready(error)] : []
        // What is being drained is not built up again.
        if error.code.isBeyondRecovery || phase == .draining { return unready + fail(error, now: now) }
        let since = recoveringSince ?? now
        recoveringSince = since
        failuresInRow += 1
        // A node that is away may come back; that is no crash.
        if error.code != .linkLost {
            failureTimes = failureTimes.filter { now - $0 <= configuration.crashLoopWindow } + [now]
        }
        if let reason = reasonToGiveUp(error, since: since, now: now) { return unready + fail(reason, now: now) }
        problem = error
        phases.enter(.recovering, because: error, now: now)
        isRetryPending = true
        retryNumber += 1
        return unready + endServer() + [.scheduleRetry(after: retryDelay(), number: retryNumber)]
    }

    private func reasonToGiveUp(_ error: ShoalError, since: Duration, now: Duration) -> ShoalError? {
        if error.code != .linkLost {
            if failuresInRow >= configuration.failuresInRowMax {
                return error.during("giving up after \(failuresInRow) launches in a row that failed")
            }
            if failureTimes.count >= configuration.crashLoopFailureCountMax {
                return error.during(
                    "giving up after \(failureTimes.count) failures in \(configuration.crashLoopWindow)")
            }
        }
        // Another plan may do without the node.
        let limit = error.code == .linkLost ? configuration.lostNodeGrace : configuration.recoveryDurationMax
        guard now - since > limit else { return nil }
        return error.during("giving up after recovering for \(limit)")
    }

    private func retryDelay() -> Duration {
        // Doubling past 2^16 is far beyond any sensible `retryDelayMax`.
        let doublings = min(failuresInRow - 1, 16)
        return min(configuration.retryDelayMin * (1 << doublings), configuration.retryDelayMax)
    }

    private mutating func fail(_ error: ShoalError, now: Duration) -> [Action] {
        problem = error
        isRetryPending = false
        phases.enter(.failed, because: error, now: now)
        return [.becameFailed(error)] + endServer() + releaseIfServerIsGone(now: now)
    }

    private mutating func endServer() -> [Action] {
        guard server == .running else { return [] }
        server = .ending
        return [.endServer]
    }

    /// Workers go last: a llama-server that loses one aborts instead of ending.
    private mutating func releaseIfServerIsGone(now: Duration) -> [Action] {
        guard server == .absent else { return [] }
        let releases = workers.indices.map { Action.releaseWorker($0) }
        guard isStopping, workers.isEmpty, phase != .stopped else { return releases }
        phases.enter(.stopped, now: now)
        return [.becameStopped]
    }

    private func isCurrent(_ generation: UInt32) -> Bool {
        generation == self.generation && !isStopping && phase != .failed && !isRetryPending
    }
}

/// How patiently an instance of the rpc engine is brought up and recovered.
package struct RPCLifecycleConfiguration: Hashable, Sendable {
    /// Before the first retry; each further one in a row waits twice as long.
    package var retryDelayMin: Duration = .milliseconds(100)
    package var retryDelayMax: Duration = .seconds(10)
    /// Launches in a row that may fail.
    package var failuresInRowMax = 5
    /// Failures within `crashLoopWindow` after which the instance gives up although it was ready in between.
    package var crashLoopFailureCountMax = 20
    package var crashLoopWindow: Duration = .seconds(60)
    /// How long a worker's node may be out of reach before the instance gives up, so that it can be placed on others.
    package var lostNodeGrace: Duration = .seconds(5)
    /// How long a recovery may go on.
    package var recoveryDurationMax: Duration = .seconds(600)
    /// How long a launch may go without any progress.
    package var stalledDurationMax: Duration = .seconds(600)
    package var phaseRecordCountMax = 64

    package init() {}
}

extension InstancePhase {
    /// Whether llama-server runs and is not ready yet.
    package var isLaunch: Bool {
        self == .launching || self == .handshaking || self == .loading || self == .warming
    }
}

extension ShoalError.Code {
    /// Whether the same attempt must fail again.
    fileprivate var isBeyondRecovery: Bool {
        let codes: [ShoalError.Code] = [
            .malformedModel, .fileUnreadable, .invalidPlacement, .invalidRequest, .insufficientMemory,
            .unsupportedFamily, .protocolViolation,
        ]
        return codes.contains(self)
    }
}
