import Logging
import NIOCore
package import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalScheduling
import ShoalWire

/// The head of one instance: brings its stages up, schedules its requests and turns sampled tokens into text.
///
/// Decisions are made by `InstanceLifecycle` and `HeadScheduler`; this actor executes their actions. It lives on the
/// data loop beside the last stage, so sampled tokens reach the scheduler without a hop.
package actor HeadService {
    nonisolated let eventLoop: any EventLoop
    nonisolated package var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    nonisolated let order: InstanceOrder
    let node: Node
    let logger: Logger
    private let clock = ContinuousClock()
    private let startedAt: ContinuousClock.Instant

    var lifecycle: InstanceLifecycle
    /// Made when the stages are loaded for the first time.
    var scheduler: HeadScheduler?
    var sinks: [RequestID: Sink] = [:]
    /// Requests whose reader left before they were submitted, oldest first; most are of requests that had just ended.
    var earlyCancels: [RequestID] = []
    /// More than one head's clients can have on the way at once.
    static let earlyCancelCountMax = 2 * Limits.queuedRequestCountMax
    var stageLoads: [StageLoaded?]
    /// What each stage's engine was built from, as of its last preparation.
    private var builds: [EngineBuild?]
    /// Stages that may hold memory: they were asked to prepare, and not yet to unload.
    private var stagesToRelease: Set<Int> = []
    var snapshots: [StageSnapshot?]
    /// The last stage, on this node.
    var lastStage: StageHost?
    /// To stage 0 when it is on another node.
    var firstStageLink: FrameConnection?
    /// Work under way, by number; cancelled by `stop`.
    private var tasks: [Int: Task<Void, Never>] = [:]
    private var taskCount = 0
    private var stopWaiters: [CheckedContinuation<Void, Never>] = []
    private var hasEnded = false
    private var isRefreshing = false
    /// Nodes that do not answer, and the sentence about it.
    private var suspects: [NodeID: ShoalError] = [:]
    var draftLife = DraftLife()
    /// The draft model's engine, on this node.
    var draftHost: StageHost?
    var draftLoaded: StageLoaded?
    var draftSnapshot: StageSnapshot?
    /// Where the time of the latest requests went.
    var tracer = RequestTracer()
    /// The link to the first stage, measured.
    var firstLinkTimes = StageClock()
    var firstLinkPings: RepeatedTask?

    /// Takes a request's events, in order, on the data loop. Must not block.
    package typealias Sink = @Sendable (GenerationEvent) -> Void

    init(order: InstanceOrder, node: Node) {
        self.order = order
        self.node = node
        eventLoop = node.dataLoop
        var logger = node.logger
        logger[metadataKey: "instance.id"] = "\(order.id)"
        self.logger = logger
        startedAt = clock.now
        stageLoads = Array(repeating: nil, count: order.stages.count)
        builds = Array(repeating: nil, count: order.stages.count)
        snapshots = Array(repeating: nil, count: order.stages.count)
        var configuration = InstanceLifecycleConfiguration()
        configuration.lostNodeGrace = node.configuration.limits.lostNodeGrace
        configuration.lostNodeGraceAtLaunch = node.configuration.limits.lostNodeGraceAtLaunch
        lifecycle = InstanceLifecycle(
            stageCount: order.stages.count, configuration: configuration, now: .zero)
    }

    /// Monotonic, since the head began.
    var now: Duration { clock.now - startedAt }

    /// Begins to bring the instance up; progress shows in `report`.
    func start() {
        perform(lifecycle.start(now: now))
        startDraft()
    }

    /// Ends all requests with `reason` and unloads every stage; returns when that is done, or at once when it was.
    func stop(_ reason: ShoalError) async {
        guard !hasEnded else { return }
        perform(scheduler?.stop(reason) ?? [])
        perform(lifecycle.stop(now: now))
        guard !hasEnded else { return }
        await withCheckedContinuation { stopWaiters.append($0) }
    }

    /// Once a second: deadlines on lack of progress and on lost nodes.
    func tick() {
        perform(lifecycle.tick(now: now))
        tendDraft()
        loseSuspects()
    }

    /// Once a second, unless a node does not answer: what the stages look like now.
    func refresh() async {
        guard !isRefreshing, !hasEnded else { return }
        isRefreshing = true
        defer { isRefreshing = false }
        for (index, stage) in order.stages.enumerated() where stageLoads[index] != nil {
            let reply = try? await node.ask(
                stage.node, .inspectStage(order.id), deadline: node.configuration.limits.requestDeadline)
            // A stage that cannot be asked keeps its last snapshot; its loss is noticed elsewhere.
            if case .stage(let snapshot)? = reply { snapshots[index] = snapshot }
        }
        draftSnapshot = await draftHost?.snapshot()
        guard !hasEnded else { return }
        changed()
    }

    func stageProgressed(_ index: Int, generation: UInt32, fraction: Double) {
        guard order.stages.indices.contains(index) else { return }
        lifecycle.stageLoadProgressed(index, generation: generation, fraction: fraction, now: now)
    }

    func stageLost(_ index: Int, generation: UInt32, error: ShoalError) {
        guard order.stages.indices.contains(index), generation == lifecycle.generation else { return }
        let place =
            "stage \(index) (layers \(order.stages[index].layers)) on node \(order.stages[index].nodeName) was lost"
        perform(lifecycle.stageLost(index, error: error.during(place), now: now))
    }

    /// The data link from a stage to the next one, or from the head to stage 0 (`index` nil), broke. Both engines may
    /// well live: all stages are reset, none is loaded again unless it is found lost.
    func dataLinkLost(after index: Int?, generation: UInt32, error: ShoalError) {
        let next = index.map { $0 + 1 } ?? 0
        guard order.stages.indices.contains(next), generation == lifecycle.generation else { return }
        let sender = index.map { "stage \($0) on node \(order.stages[$0].nodeName)" } ?? "the head"
        let receiver = "stage \(next) on node \(order.stages[next].nodeName)"
        let lost = ShoalError(.linkLost, "the link from \(sender) to \(receiver) was lost: \(error.message)")
        // One of them applies: requests are running, or the warm-up is.
        perform(lifecycle.pipelineBroken(generation: generation, error: lost, now: now))
        perform(lifecycle.warmUpFailed(generation: generation, error: lost, now: now))
    }

    func nodeLost(_ lost: NodeID, _ error: ShoalError) {
        for (index, stage) in order.stages.enumerated() where stage.node == lost {
            perform(lifecycle.stageLost(index, error: error, now: now))
        }
    }

    /// A node does not answer. That costs nothing while nobody waits for it; a request that does is not kept waiting.
    func nodeSuspected(_ suspect: NodeID, _ error: ShoalError) {
        suspects[suspect] = error
        loseSuspects()
    }

    /// A node can be reached again, or answers again.
    func nodeReturned(_ node: NodeID) {
        suspects[node] = nil
        for (index, stage) in order.stages.enumerated() where stage.node == node {
            perform(lifecycle.nodeReturned(index, now: now))
        }
    }

    private func loseSuspects() {
        guard let scheduler, scheduler.runningRequestCount + scheduler.queuedRequestCount > 0 else { return }
        for (suspect, error) in suspects where suspect != node.id { nodeLost(suspect, error) }
    }

    /// Admits nothing any more; what runs ends by itself.
    func drain() {
        lifecycle.drain(now: now)
        perform(scheduler?.drain() ?? [])
        changed()
    }

    // MARK: Lifecycle

    func perform(_ actions: [InstanceLifecycleAction]) {
        for action in actions { perform(action) }
        if !actions.isEmpty { changed() }
    }

    private func perform(_ action: InstanceLifecycleAction) {
        switch action {
        case .loadStage(let index, let generation): prepare(index, generation, isReset: false)
        case .resetStage(let index, let generation): prepare(index, generation, isReset: true)
        case .unloadStage(let index): unload(index)
        case .runWarmUp(let generation): run { await $0.warmUp(generation) }
        case .scheduleRetry(let delay, let number):
            eventLoop.scheduleTask(in: TimeAmount(delay)) { [weak self] in
                self?.assumeIsolated { $0.perform($0.lifecycle.retryTimerFired(number: number, now: $0.now)) }
            }
        case .becomeReady(let generation):
            logger.info("instance ready", metadata: ["generation": "\(generation)"])
            perform(scheduler?.pipelineReady(generation: generation, now: now) ?? [])
        case .failRequests(let error):
            if lifecycle.phase.isEnding {
                logger.info("instance stopped")
            } else {
                logger.warning("the pipeline was lost", metadata: ["error": "\(error)"])
            }
            closeFirstStageLink()
            perform(scheduler?.pipelineLost(error) ?? [])
        case .becameFailed(let error):
            logger.error("instance failed", metadata: ["error": "\(error)"])
            closeFirstStageLink()
            perform(scheduler?.stop(error) ?? [])
            run { head in
                await head.releaseForgottenStages()
                await head.endDraft()
            }
        case .becameStopped:
            run { head in
                await head.releaseForgottenStages()
                await head.endDraft()
                head.end()
            }
        }
    }

    private func end() {
        hasEnded = true
        closeFirstStageLink()
        for task in tasks.values { task.cancel() }
        tasks = [:]
        node.inbox.post(.headEnded(order.id))
        let waiters = stopWaiters
        stopWaiters = []
        for waiter in waiters { waiter.resume() }
    }

    private func prepare(_ index: Int, _ generation: UInt32, isReset: Bool) {
        lifecycle.stageEngineStarted(index, generation: generation, now: now)
        stagesToRelease.insert(index)
        run { head in
            let result = await head.askForStage(index, generation)
            switch result {
            case .success(let prepared):
                head.builds[index] = prepared.build
                if let error = head.mismatch(of: prepared.build, at: index) {
                    return head.perform(
                        head.lifecycle.stageFailed(index, generation: generation, error: error, now: head.now))
                }
                head.stageLoads[index] = prepared.loaded
                head.perform(
                    isReset
                        ? head.lifecycle.stageReset(index, generation: generation, now: head.now)
                        : head.lifecycle.stageLoaded(index, generation: generation, now: head.now))
            case .failure(let error):
                head.perform(
                    head.lifecycle.stageFailed(index, generation: generation, error: error, now: head.now))
            }
        }
    }

    private func askForStage(_ index: Int, _ generation: UInt32) async -> Result<StagePrepared, ShoalError> {
        let stage = order.stages[index]
        do throws(ShoalError) {
            let reply = try await node.ask(
                stage.node, .prepareStage(assignment(index, generation)),
                deadline: node.configuration.limits.loadDeadline)
            guard case .stagePrepared(let prepared) = reply else {
                throw ShoalError(.protocolViolation, "node \(stage.nodeName) answered something else to prepareStage")
            }
            return .success(prepared)
        } catch {
            return .failure(error.during("stage \(index) (layers \(stage.layers)) on node \(stage.nodeName)"))
        }
    }

    /// Why an engine of this build cannot work with the others; nil when it can. The code is one that no retry cures.
    private func mismatch(of build: EngineBuild, at index: Int) -> ShoalError? {
        for (other, otherBuild) in builds.enumerated() {
            guard let otherBuild, otherBuild != build else { continue }
            return ShoalError(
                .invalidPlacement,
                "the engine of stage \(index) on node \(order.stages[index].nodeName) is \(build), "
                    + "that of stage \(other) on node \(order.stages[other].nodeName) is \(otherBuild); "
                    + "install the same build of Shoal on both")
        }
        return nil
    }

    private func assignment(_ index: Int, _ generation: UInt32) -> StageAssignment {
        let limits = node.configuration.limits
        let isLast = index == order.stages.count - 1
        var load = StageLoadRequest(path: order.model.path, layers: order.stages[index].layers)
        load.servesText = isLast
        load.boundaryFormat = order.wire
        load.contextTokenCount = order.contextTokenCount
        load.sequenceCountMax = order.sequenceCountMax
        load.microBatchTokenCountMax = limits.microBatchTokenCountMax
        return StageAssignment(
            instance: order.id, generation: generation, stageIndex: index, stageCount: order.stages.count,
            model: order.model, load: load, head: node.id, downstream: isLast ? nil : order.stages[index + 1].node)
    }

    private func unload(_ index: Int) {
        run { head in
            await head.release(index)
            head.perform(head.lifecycle.stageUnloaded(index, now: head.now))
        }
    }

    private func release(_ index: Int) async {
        stagesToRelease.remove(index)
        do throws(ShoalError) {
            _ = try await node.ask(
                order.stages[index].node, .unloadStage(order.id), deadline: node.configuration.limits.requestDeadline)
        } catch {
            // A node that is gone has nothing loaded; one that cannot be reached frees orphans by itself.
            logger.info("a stage could not be unloaded", metadata: ["stage": "\(index)", "error": "\(error)"])
        }
    }

    /// To the lifecycle a stage that failed or was lost holds nothing. Its node may still hold the engine, or a place
    /// for the next attempt.
    private func releaseForgottenStages() async {
        for index in stagesToRelease where lifecycle.stages[index].condition == .absent { await release(index) }
    }

    /// Work of this head that waits for others. `end` cancels what is left.
    func run(_ body: @escaping @Sendable (isolated HeadService) async -> Void) {
        guard !hasEnded else { return }
        taskCount += 1
        let number = taskCount
        // `end` cancels it.
        tasks[number] = Task {
            await body(self)
            self.tasks[number] = nil
        }
    }

    func closeFirstStageLink() {
        let link = firstStageLink
        firstStageLink = nil
        firstLinkPings?.cancel()
        firstLinkPings = nil
        firstLinkTimes.reset()
        tracer.pipelineLost()
        link?.close(because: nil)
    }

    // MARK: Reports

    func changed() { node.inbox.post(.headChanged(report())) }
}
