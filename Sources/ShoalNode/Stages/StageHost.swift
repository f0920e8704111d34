package import Logging
package import NIOCore
package import ShoalCore
package import ShoalEngine
package import ShoalLinks
package import ShoalWire

/// What a stage tells its node unasked. Called on the data loop.
package enum StageNotice: Sendable {
    case progress(generation: UInt32, fraction: Double)
    /// The stage cannot compute any more: its engine ended.
    case lost(generation: UInt32, ShoalError)
    /// The link to the next stage broke; the engine lives.
    case disconnected(generation: UInt32, ShoalError)
}

/// One stage of one instance on this node: its engine, and the frames that pass through.
///
/// Frames flow upstream link -> engine -> downstream link (or the head, in the last stage), all on one event loop, so
/// that a token costs no hop between threads. The pipeline's generation decides what is current; frames of another
/// one are dropped. Everything here happens on `eventLoop`, which is also this actor's executor.
package actor StageHost {
    /// Opens the data connection to the next stage.
    package typealias Dial = @Sendable (StageAssignment) async throws(ShoalError) -> FrameConnection

    nonisolated package let eventLoop: any EventLoop
    nonisolated package var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    package nonisolated let instance: InstanceID
    private let launcher: any EngineLauncher
    private let dial: Dial
    private let notify: @Sendable (StageNotice) -> Void
    private let logger: Logger

    /// How long an engine may take to forget its sequences: it may be in the middle of a micro-batch.
    private static let resetDeadline = Duration.seconds(60)
    /// How long a load may go without progress; the lifecycle gives up first, this is for an engine whose head is gone.
    private static let loadStallDeadline = Duration.seconds(120)

    private var assignment: StageAssignment?
    private var engine: (any EngineHandle)?
    private var loaded: StageLoaded?
    /// The engine that runs, or ran last, for its log.
    private var latestEngine: (any EngineHandle)?
    private var upstream: FrameConnection?
    private var downstream: FrameConnection?
    private var outputsReceiver: (@Sendable (Frame) -> Void)?
    private var isUnloaded = false
    /// Engines that are being started; `unload` waits for them, so that none is left when it returns.
    private var launchCount = 0
    private var launchWaiters: [CheckedContinuation<Void, Never>] = []
    private var times = StageClock()
    private var pings: RepeatedTask?
    private let clock = ContinuousClock()
    private let startedAt: ContinuousClock.Instant
    private var boundaryByteCount = 0
    private var boundaryTokenCount = 0
    private var bulkByteCount = 0

    package init(
        instance: InstanceID, eventLoop: any EventLoop, launcher: any EngineLauncher, logger: Logger,
        dial: @escaping Dial, notify: @escaping @Sendable (StageNotice) -> Void
    ) {
        startedAt = clock.now
        self.instance = instance
        self.eventLoop = eventLoop
        self.launcher = launcher
        self.logger = logger
        self.dial = dial
        self.notify = notify
    }

    /// Makes the stage ready for `order.generation`: resets a living engine that holds the right layers, else starts
    /// one. Throws what the engine says, or `cancelled` when a newer generation came meanwhile. An engine that could
    /// not be loaded or reset is ended: what it holds is unknown.
    package func prepare(_ order: StageAssignment) async throws(ShoalError) -> StagePrepared {
        guard !isUnloaded, order.generation > assignment?.generation ?? 0 else {
            throw ShoalError(.cancelled, "generation \(order.generation) of instance \(order.instance) is not current")
        }
        let reusable = assignment?.load == order.load ? engine : nil
        assignment = order
        closeLinks()
        do throws(ShoalError) {
            if let reusable, let loaded {
                _ = try await reusable.request(.reset, deadline: Self.resetDeadline)
                try requireCurrent(order)
                return StagePrepared(loaded: loaded, build: reusable.build)
            }
            return try await start(order)
        } catch {
            if assignment == order { await endEngine() }
            throw error
        }
    }

    /// The file that a living engine holds its stage of; nil when there is none to be reused.
    package var loadedPath: String? { engine != nil && loaded != nil ? assignment?.load.path : nil }

    /// What a stage's engine holds.
    struct Held: Sendable {
        var model: String
        var path: String
        var layers: LayerRange
        var loaded: StageLoaded
    }

    /// Nil while no engine has loaded the stage.
    var held: Held? {
        guard let assignment, let loaded, engine != nil else { return nil }
        return Held(
            model: assignment.model.name, path: assignment.load.path, layers: assignment.load.layers, loaded: loaded)
    }

    /// Opens the way to the next stage. The last stage has none.
    package func connect(generation: UInt32) async throws(ShoalError) {
        guard let order = assignment, order.generation == generation else {
            throw ShoalError(.cancelled, "generation \(generation) of instance \(instance) is not current")
        }
        guard order.downstream != nil else { return }
        let connection = try await dial(order)
        guard assignment?.generation == generation, !isUnloaded else {
            connection.close(because: nil)
            throw ShoalError(.cancelled, "generation \(generation) of instance \(instance) is not current")
        }
        downstream = connection
        connection.start(self)
        pings = eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .seconds(1)) { [weak self] _ in
            self?.assumeIsolated { $0.ping() }
        }
    }

    /// Takes the data connection of the stage before this one.
    package func accept(_ connection: FrameConnection, generation: UInt32) {
        guard assignment?.generation == generation, !isUnloaded else {
            connection.close(because: ShoalError(.cancelled, "generation \(generation) is not current"))
            return
        }
        upstream?.close(because: nil)
        upstream = connection
        connection.start(self)
    }

    /// Where the last stage's frames go: the head, on the same loop.
    package func deliverOutputs(to receiver: @escaping @Sendable (Frame) -> Void) { outputsReceiver = receiver }

    /// Text requests and samplers: the head's own business with its engine.
    package func request(_ request: EngineRequest, deadline: Duration) async throws(ShoalError) -> EngineReply {
        guard let engine else { throw ShoalError(.unavailable, "the engine of instance \(instance) is not running") }
        return try await engine.request(request, deadline: deadline)
    }

    /// Sends an engine request at once, in order with the micro-batches; `onFailure` is called on the loop if the
    /// engine refuses it.
    package func post(_ request: EngineRequest, onFailure: @escaping @Sendable (ShoalError) -> Void) {
        engine?.post(request, onFailure: onFailure)
    }

    /// A frame from the stage before, or from the head in the first stage. Call on `eventLoop`.
    package func receiveFromUpstream(_ frame: Frame) {
        guard let order = assignment, frame.generation == order.generation else { return }
        switch frame.kind {
        case .microBatch:
            times.gave(frame.number, now: now)
            engine?.connection.send(frame)
        case .microBatchFailed: passOn(frame)
        default: bulkByteCount += frame.payload.readableBytes
        }
    }

    package func snapshot() async -> StageSnapshot {
        let status: StageStatus?
        if let engine, loaded != nil,
            case .status(let found)? = try? await engine.request(.status, deadline: .seconds(5))
        {
            status = found
        } else {
            // An engine that is loading, dying or gone has no status; its phase says so.
            status = nil
        }
        return StageSnapshot(
            engineProcessID: engine?.processID, status: status,
            boundaryBytesSent: ByteCount(boundaryByteCount), boundaryTokenCount: boundaryTokenCount,
            weightBytesReceived: ByteCount(bulkByteCount))
    }

    /// What the engine said last, also when it is gone; nil if none was started.
    package func log(nodeName: String) -> EngineLogReport? {
        guard let latestEngine, let assignment else { return nil }
        return EngineLogReport(
            instance: instance, model: assignment.model.name, nodeName: nodeName, stageIndex: assignment.stageIndex,
            processID: engine?.processID, launch: latestEngine.launchRecord, lines: latestEngine.logTail())
    }

    /// Ends the engine and the links. Safe to call twice.
    package func unload() async {
        isUnloaded = true
        closeLinks()
        await endEngine()
        if launchCount > 0 { await withCheckedContinuation { launchWaiters.append($0) } }
    }

    private func endEngine() async {
        let ending = engine
        engine = nil
        loaded = nil
        await ending?.stop()
    }

    private func start(_ order: StageAssignment) async throws(ShoalError) -> StagePrepared {
        await endEngine()
        try requireCurrent(order)
        let fresh = try await launch(order)
        engine = fresh
        latestEngine = fresh
        return try await load(order, into: fresh)
    }

    /// An engine for `order`, unless that is no longer wanted when it has started.
    private func launch(_ order: StageAssignment) async throws(ShoalError) -> any EngineHandle {
        launchCount += 1
        defer { launchEnded() }
        let fresh = try await launcher.launch(
            label: "\(order.model.name)-\(order.instance)-stage\(order.stageIndex)", eventLoop: eventLoop,
            receiver: self,
            onLoadProgress: { [notify] fraction in
                notify(.progress(generation: order.generation, fraction: fraction))
            })
        guard assignment == order, !isUnloaded else {
            await fresh.stop()
            throw ShoalError(.cancelled, "generation \(order.generation) of instance \(instance) is not current")
        }
        return fresh
    }

    private func launchEnded() {
        launchCount -= 1
        guard launchCount == 0 else { return }
        let waiters = launchWaiters
        launchWaiters = []
        for waiter in waiters { waiter.resume() }
    }

    private func load(_ order: StageAssignment, into fresh: any EngineHandle) async throws(ShoalError) -> StagePrepared
    {
        let reply = try await fresh.request(.load(order.load), deadline: Self.loadStallDeadline)
        try requireCurrent(order)
        guard engine === fresh else {
            throw ShoalError(.engineLost, "the engine ended as soon as it had loaded")
        }
        guard case .loaded(let stage) = reply else {
            throw ShoalError(.protocolViolation, "the engine answered a load request with something else")
        }
        loaded = stage
        return StagePrepared(loaded: stage, build: fresh.build)
    }

    private func requireCurrent(_ order: StageAssignment) throws(ShoalError) {
        guard assignment == order, !isUnloaded else {
            throw ShoalError(.cancelled, "generation \(order.generation) of instance \(instance) is not current")
        }
    }

    private func closeLinks() {
        let links = [upstream, downstream]
        upstream = nil
        downstream = nil
        pings?.cancel()
        pings = nil
        times.reset()
        for link in links { link?.close(because: nil) }
    }
}

extension StageHost: FrameReceiver {
    nonisolated package func received(_ frame: Frame, on connection: FrameConnection) {
        assumeIsolated { host in
            if connection === host.engine?.connection {
                host.receiveFromEngine(frame)
            } else if connection === host.upstream {
                if frame.kind == .ping { return connection.send(Frame(kind: .pong, number: frame.number)) }
                host.receiveFromUpstream(frame)
            } else if connection === host.downstream, frame.kind == .pong {
                host.times.ponged(frame.number, now: host.now)
            }
        }
    }

    nonisolated package func writabilityChanged(_ isWritable: Bool, on connection: FrameConnection) {}

    nonisolated package func closed(_ connection: FrameConnection, because error: ShoalError?) {
        assumeIsolated { $0.connectionClosed(connection, because: error) }
    }

    private func receiveFromEngine(_ frame: Frame) {
        guard let order = assignment, frame.generation == order.generation else { return }
        var frame = frame
        if let (held, queued) = times.took(frame.number, now: now) {
            frame.setHostTimes(
                queue: StageTimes.microseconds(queued), engine: StageTimes.microseconds(held),
                link: StageTimes.microseconds(times.roundTrip ?? .zero))
        }
        passOn(frame)
    }

    private var now: Duration { clock.now - startedAt }

    /// Once a second, so that traces can tell the link from the computation.
    private func ping() { downstream?.send(Frame(kind: .ping, number: times.pings(now: now))) }

    /// To the next stage, or to the head.
    private func passOn(_ frame: Frame) {
        if let downstream {
            // First of all: the next stage waits, what is counted here does not matter to it.
            downstream.send(frame)
            boundaryByteCount += frame.byteCount
            // A frame that cannot be read counts for nothing here; the next stage refuses it.
            if frame.kind == .microBatch {
                boundaryTokenCount += MicroBatchDescription.entryCount(of: frame) ?? 0
            }
        } else {
            outputsReceiver?(frame)
        }
    }

    private func connectionClosed(_ connection: FrameConnection, because error: ShoalError?) {
        if connection === upstream {
            // The stage before, or the head, notices by itself and says so.
            upstream = nil
        } else if connection === downstream {
            downstream = nil
            guard !isUnloaded, let generation = assignment?.generation else { return }
            notify(.disconnected(generation: generation, error ?? ShoalError(.linkLost, "it was closed")))
        } else if let engine, connection === engine.connection {
            self.engine = nil
            loaded = nil
            reportLoss(error ?? ShoalError(.engineLost, "the engine was stopped"))
        }
    }

    private func reportLoss(_ error: ShoalError) {
        guard !isUnloaded, let generation = assignment?.generation else { return }
        logger.warning("stage lost", metadata: ["instance.id": "\(instance)", "error": "\(error)"])
        notify(.lost(generation: generation, error))
    }
}
