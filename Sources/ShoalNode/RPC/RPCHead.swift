import Logging
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalLaunch
import ShoalTunnel

/// The head of one instance of the rpc engine: llama-server as a child of this node, and workers wherever the plan put
/// them.
///
/// `RPCLifecycle` decides; this actor executes its actions and tells it what happens. What is true of llama-server is
/// told by three witnesses: its process, its log, and its HTTP.
actor RPCHead: InstanceHead {
    nonisolated let order: InstanceOrder
    nonisolated let rpc: RPCOrder
    let node: Node
    let logger: Logger
    private let clock = ContinuousClock()
    private let startedAt: ContinuousClock.Instant

    var lifecycle: RPCLifecycle
    /// The stages that workers compute, in device order: worker w of the lifecycle is stage `remoteStages[w]`.
    nonisolated let remoteStages: [Int]
    /// By worker.
    var prepared: [RPCWorkerPrepared?]
    var snapshots: [RPCWorkerSnapshot?]
    /// The head's ends of the tunnels, by worker; made for the first launch, kept over restarts.
    var tunnels: [TunnelHeadEnd?]
    /// Workers that must be started anew because they are frozen.
    var mustRestart: Set<Int> = []
    /// By worker: what had been written to it when llama-server was launched last.
    var weightBytesBeforeLaunch: [Int]
    var server: RunningServer?
    /// The server that runs, or ran last, for its log.
    var latestServer: StockProcess?
    /// Nodes that may still hold a worker.
    var nodesToRelease: Set<NodeID> = []
    var proof = LaunchProof(devices: [])
    var watchdog: ComputeWatchdog?
    var runningRequestCount = 0
    var notes: [String] = []
    var stoppedSince: [String: Duration] = [:]
    private var isRefreshing = false
    private var hasEnded = false
    private var stopWaiters: [CheckedContinuation<Void, Never>] = []
    private var tasks: [Int: Task<Void, Never>] = [:]
    private var taskCount = 0

    /// One llama-server process.
    struct RunningServer {
        var launch: Int
        var generation: UInt32
        var port: Int
        var process: StockProcess
        var client: ServerClient { ServerClient(port: port) }
    }

    init(order: InstanceOrder, rpc: RPCOrder, node: Node) {
        self.order = order
        self.rpc = rpc
        self.node = node
        var logger = node.logger
        logger[metadataKey: "instance.id"] = "\(order.id)"
        self.logger = logger
        startedAt = clock.now
        remoteStages = order.stages.indices.filter { $0 != rpc.localStage }
        prepared = Array(repeating: nil, count: remoteStages.count)
        snapshots = Array(repeating: nil, count: remoteStages.count)
        tunnels = Array(repeating: nil, count: remoteStages.count)
        weightBytesBeforeLaunch = Array(repeating: 0, count: remoteStages.count)
        lifecycle = RPCLifecycle(
            workerCount: remoteStages.count, configuration: node.configuration.limits.rpcLifecycle, now: .zero)
    }

    /// Monotonic, since the head began.
    var now: Duration { clock.now - startedAt }

    func start() { perform(lifecycle.start(now: now)) }

    func stop(_ reason: ShoalError) async {
        guard !hasEnded else { return }
        perform(lifecycle.stop(now: now))
        guard !hasEnded else { return }
        await withCheckedContinuation { stopWaiters.append($0) }
    }

    func tick() { perform(lifecycle.tick(now: now)) }

    func refresh() async {
        guard !isRefreshing, !hasEnded else { return }
        isRefreshing = true
        defer { isRefreshing = false }
        await lookAtWorkers()
        await lookAtServer()
        guard !hasEnded else { return }
        changed()
    }

    func nodeLost(_ lost: NodeID, _ error: ShoalError) {
        for (worker, stage) in remoteStages.enumerated() where order.stages[stage].node == lost {
            explain("node of worker lost", ["worker": "\(worker)", "error": "\(error)"])
            snapshots[worker] = nil
            perform(lifecycle.workerLost(worker, error: error, now: now))
        }
    }

    /// Its tunnels break if it is gone, and its silence is what the watchdog listens for.
    func nodeSuspected(_ suspect: NodeID, _ error: ShoalError) {}

    /// A retry is under way, with growing pauses.
    func nodeReturned(_ node: NodeID) {}

    /// llama-server cannot be told to refuse requests; the gateways see that another instance serves.
    func drain() { perform(lifecycle.drain(now: now)) }

    /// A worker's process ended, as its node says.
    func stageLost(_ index: Int, generation: UInt32, error: ShoalError) {
        guard let worker = remoteStages.firstIndex(of: index), generation == lifecycle.generation else { return }
        snapshots[worker] = nil
        perform(lifecycle.workerLost(worker, error: error, now: now))
    }

    /// Neither is said of a worker.
    func stageProgressed(_ index: Int, generation: UInt32, fraction: Double) {}
    func dataLinkLost(after index: Int?, generation: UInt32, error: ShoalError) {}

    // MARK: Lifecycle

    func perform(_ actions: [RPCLifecycle.Action]) {
        for action in actions {
            explain("recovery step", ["action": "\(action)"])
            perform(action)
        }
        if !actions.isEmpty { changed() }
    }

    private func perform(_ action: RPCLifecycle.Action) {
        switch action {
        case .prepareWorker(let worker, let generation): run { await $0.prepareWorker(worker, generation) }
        case .verifyWorkers(let generation): run { await $0.verifyWorkers(generation) }
        case .launchServer(let generation): run { await $0.launchServer(generation) }
        case .endServer: endServer()
        case .releaseWorker: break  // All of a node's at once, below.
        case .scheduleRetry(let delay, let number):
            run { head in
                // Cancellation ends the instance, and the wait with it.
                try? await Task.sleep(for: delay)
                head.perform(head.lifecycle.retryTimerFired(number: number, now: head.now))
            }
        case .becameReady(let generation):
            logger.info("instance ready", metadata: ["generation": "\(generation)", "engine": "rpc"])
            watchdog = ComputeWatchdog(
                configuration: node.configuration.limits.watchdog, hasBlindSpot: !rpc.foreignAddresses.isEmpty,
                now: now)
        case .becameUnready(let error):
            if lifecycle.phase.isEnding {
                logger.info("instance stopped", metadata: ["engine": "rpc"])
            } else {
                logger.warning("requests failed", metadata: ["error": "\(error)"])
            }
            watchdog = nil
            runningRequestCount = 0
        case .becameFailed(let error): logger.error("instance failed", metadata: ["error": "\(error)"])
        case .becameStopped: end()
        }
        if case .releaseWorker(remoteStages.count - 1) = action { run { await $0.releaseWorkers() } }
    }

    private func releaseWorkers() async {
        let nodes = nodesToRelease
        nodesToRelease = []
        for node in nodes { await release(node) }
        for index in tunnels.indices {
            let tunnel = tunnels[index]
            tunnels[index] = nil
            await tunnel?.close()
        }
        perform(lifecycle.workersReleased(now: now))
    }

    private func release(_ holder: NodeID) async {
        do throws(ShoalError) {
            _ = try await node.ask(
                holder, .unloadStage(order.id), deadline: node.configuration.limits.requestDeadline)
        } catch {
            // A node that is gone runs nothing; one that cannot be reached frees orphans by itself.
            logger.info("a worker could not be released", metadata: ["node.id": "\(holder)", "error": "\(error)"])
        }
    }

    private func end() {
        guard !hasEnded else { return }
        hasEnded = true
        for task in tasks.values { task.cancel() }
        tasks = [:]
        node.inbox.post(.headEnded(order.id))
        let waiters = stopWaiters
        stopWaiters = []
        for waiter in waiters { waiter.resume() }
    }

    /// Work of this head that waits for others. `end` cancels what is left.
    func run(_ body: @escaping @Sendable (isolated RPCHead) async -> Void) {
        guard !hasEnded else { return }
        taskCount += 1
        let number = taskCount
        // `end` cancels it.
        tasks[number] = Task {
            await body(self)
            self.tasks[number] = nil
        }
    }

    func changed() {
        guard !hasEnded else { return }
        node.inbox.post(.headChanged(report()))
    }

    /// Says what a recovery does, where that was asked for.
    func explain(_ what: Logger.Message, _ metadata: Logger.Metadata) {
        logger.log(level: node.configuration.explainsRecovery ? .notice : .debug, what, metadata: metadata)
    }
}
