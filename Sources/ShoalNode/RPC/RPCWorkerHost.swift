import Logging
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalLaunch
import ShoalLinks
import ShoalRPC
import ShoalTunnel

/// One worker of one instance, on the node that runs it or carries its traffic: a `ggml-rpc-server` bound to loopback,
/// or a foreign one, and this node's end of the tunnel to it.
///
/// Nobody but this actor and the tunnel's sessions talks to the worker's port, and this actor only while no session is
/// open: a stock worker serves one client at a time.
actor RPCWorkerHost {
    /// What it needs of its node.
    struct Environment: Sendable {
        var tools: LlamaTools?
        var models: ModelLibrary
        var nodeName: String
        /// Where other nodes reach this one.
        var linkAddress: String
        var logDirectory: String
        var threadCount: Int
        var eventLoop: any EventLoop
        /// Weights of any model that came over the network; nil keeps none.
        var pieceCache: @Sendable () async -> PieceCache?
        var logger: Logger
    }

    private let environment: Environment
    private let notify: @Sendable (StageNotice) -> Void
    private var assignment: RPCWorkerAssignment?
    private var process: StockProcess?
    /// The process that runs, or ran last, for its log.
    private var latestProcess: StockProcess?
    private var tunnel: TunnelWorkerEnd?
    private var prepared: RPCWorkerPrepared?
    private var processCount = 0
    private var isUnloaded = false
    /// Preparations under way; `unload` waits for them.
    private var workCount = 0
    private var workWaiters: [CheckedContinuation<Void, Never>] = []

    private static let startAttemptCountMax = 3
    private static let startDeadline = Duration.seconds(30)
    private static let probeDeadline = Duration.seconds(3)
    /// A refused connection on loopback costs next to nothing, and a program starts within tens of milliseconds.
    private static let probePause = Duration.milliseconds(5)
    /// How long the session of an llama-server that ended may take to end here.
    private static let sessionEndDeadline = Duration.seconds(5)

    init(environment: Environment, notify: @escaping @Sendable (StageNotice) -> Void) {
        self.environment = environment
        self.notify = notify
    }

    /// Starts the worker unless it runs, and asks it by its own protocol who it is. Throws `engineLost`, `timedOut`,
    /// `linkLost` (a foreign one does not answer), or `cancelled` when a newer generation came meanwhile.
    func prepare(_ order: RPCWorkerAssignment) async throws(ShoalError) -> RPCWorkerPrepared {
        guard !isUnloaded, order.generation > assignment?.generation ?? 0 else {
            throw ShoalError(.cancelled, "generation \(order.generation) of instance \(order.instance) is not current")
        }
        assignment = order
        workCount += 1
        defer { workEnded() }
        if let address = order.foreignAddress { return try await prepareForeign(order, address) }
        if order.mustRestart || process?.isStopped == true { await endProcess() }
        if process != nil, let prepared, let tunnel {
            if let facts = try? await Self.probeWhenFree(tunnel, environment.eventLoop) {
                try requireCurrent(order)
                return update(prepared, with: facts)
            }
            // It neither ended nor answers.
            await endProcess()
        }
        try requireCurrent(order)
        return try await start(order)
    }

    func snapshot() -> RPCWorkerSnapshot {
        RPCWorkerSnapshot(
            processID: process?.processID, processorSeconds: process?.processorSeconds,
            isStopped: process?.isStopped ?? false, residentBytes: process?.residentBytes,
            restartCount: max(0, processCount - 1))
    }

    /// Carries one connection of llama-server's; returns when it is over.
    func serve(_ peer: PeerStream) async {
        guard !isUnloaded, let tunnel else { return peer.channel.close(promise: nil) }
        await tunnel.serve(peer)
    }

    /// The last lines of the worker, also when it is gone; nil for a foreign one.
    func log() -> EngineLogReport? {
        guard let latestProcess, let assignment else { return nil }
        var report = EngineLogReport(
            instance: assignment.instance, model: assignment.model.name, nodeName: environment.nodeName,
            stageIndex: assignment.stage, processID: process?.processID, launch: latestProcess.launchRecord,
            lines: latestProcess.logTail())
        report.program = "ggml-rpc-server"
        return report
    }

    func unload() async {
        isUnloaded = true
        await endProcess()
        if workCount > 0 { await withCheckedContinuation { workWaiters.append($0) } }
        await endProcess()
    }

    // MARK: A worker of this node's own

    private func start(_ order: RPCWorkerAssignment) async throws(ShoalError) -> RPCWorkerPrepared {
        guard let tools = environment.tools else {
            throw ShoalError(
                .engineLost,
                "node \(environment.nodeName) has no ggml-rpc-server; build it with make engine, or name its folder "
                    + "with --llama-bin")
        }
        let help = try await tools.workerHelp()
        let build = try? await tools.facts().build
        let path = try? await environment.models.path(of: order.model, nodeName: environment.nodeName)
        var failure = ShoalError(.engineLost, "ggml-rpc-server was not started")
        for _ in 0..<Self.startAttemptCountMax {
            try requireCurrent(order)
            do throws(ShoalError) {
                let (tunnel, facts) = try await launch(order, tools, help)
                let ready = RPCWorkerPrepared(
                    processID: process?.processID, protocolVersion: facts.protocolVersion,
                    devices: facts.devices.map(RPCWorkerReport.Device.init), build: build?.description,
                    address: environment.linkAddress, hasModel: path != nil, restartCount: max(0, processCount - 1),
                    facts: facts, serverNumber: tunnel.serverNumber)
                self.tunnel = tunnel
                prepared = ready
                return ready
            } catch {
                await endProcess()
                failure = error
                // Only a port that was taken in the meantime is worth another try at once.
                guard latestProcess.map({ ProcessFailure(signal: nil, logTail: $0.logTail()) }) == .portInUse else {
                    break
                }
            }
        }
        throw failure
    }

    private func launch(
        _ order: RPCWorkerAssignment, _ tools: LlamaTools, _ help: ToolHelp
    ) async throws(ShoalError) -> (TunnelWorkerEnd, RPCServerFacts) {
        let port = try await FreePort.any(on: environment.eventLoop)
        let arguments = try WorkerCommand.arguments(port: port, threadCount: environment.threadCount, help: help)
        let program = StockProcess.Program(
            path: tools.paths.worker, arguments: arguments, environment: tools.environment,
            label: "\(order.model.name)-\(order.instance)-worker\(order.stage)",
            logDirectory: environment.logDirectory)
        let fresh = try await StockProcess.start(program)
        processCount += 1
        process = fresh
        latestProcess = fresh
        watch(fresh)
        let tunnel = try await makeTunnel(host: "127.0.0.1", port: port, order.model)
        let facts = try await probeUntilReady(fresh, tunnel, order)
        return (tunnel, facts)
    }

    /// The process is ready when it answers its protocol; that its port is open means nothing.
    private func probeUntilReady(
        _ fresh: StockProcess, _ tunnel: TunnelWorkerEnd, _ order: RPCWorkerAssignment
    ) async throws(ShoalError) -> RPCServerFacts {
        let clock = ContinuousClock()
        let end = clock.now + Self.startDeadline
        while true {
            try requireCurrent(order)
            guard process === fresh else {
                throw ShoalError(.engineLost, "\(await ending(of: fresh)) as soon as it had started")
            }
            do throws(ShoalError) {
                return try await tunnel.probe(eventLoop: environment.eventLoop, deadline: Self.probeDeadline)
            } catch {
                guard error.code != .protocolViolation, clock.now < end else {
                    throw error.during("verifying the worker on node \(environment.nodeName)")
                }
            }
            // Cancellation shows in the next round.
            try? await Task.sleep(for: Self.probePause)
        }
    }

    private func makeTunnel(
        host: String, port: Int, _ model: ModelReference
    ) async throws(ShoalError) -> TunnelWorkerEnd {
        // A copy with another content may have most of the weights; each piece is compared.
        let paths = await environment.models.pathsLike(model)
        let library = try await ModelLibrary.onFileThread { () throws(ShoalError) in TensorLibrary(paths: paths) }
        let cache = await environment.pieceCache()
        return TunnelWorkerEnd(
            configuration: .init(rpcServerHost: host, rpcServerPort: port, serverNumber: .random(in: 1 ... .max)),
            library: library, cache: cache, logger: environment.logger)
    }

    /// Notices when the process ends by itself.
    private func watch(_ fresh: StockProcess) {
        // Ends with the process.
        Task {
            let exit = await fresh.waitForExit()
            self.ended(fresh, exit)
        }
    }

    private func ended(_ ended: StockProcess, _ exit: EngineExit) {
        guard process === ended else { return }
        process = nil
        guard !exit.wasRequested, !isUnloaded, let generation = assignment?.generation else { return }
        let failure = ProcessFailure(exit, logTail: ended.logTail())
        let sentence = "\(exit.sentence(of: "ggml-rpc-server on node \(environment.nodeName)")): \(failure.advice)"
        environment.logger.warning(
            "worker lost", metadata: ["worker.failure": "\(failure.rawValue)", "error": "\(sentence)"])
        notify(.lost(generation: generation, ShoalError(.engineLost, sentence)))
    }

    private func ending(of process: StockProcess) async -> String {
        await process.waitForExit().sentence(of: "ggml-rpc-server on node \(environment.nodeName)")
    }

    private func endProcess() async {
        let ending = process
        process = nil
        tunnel = nil
        prepared = nil
        await ending?.stop()
    }

    // MARK: A foreign worker

    private func prepareForeign(
        _ order: RPCWorkerAssignment, _ address: String
    ) async throws(ShoalError) -> RPCWorkerPrepared {
        let target = try LinkAddress(parsing: address)
        let path = try? await environment.models.path(of: order.model, nodeName: environment.nodeName)
        let tunnel: TunnelWorkerEnd
        if let old = self.tunnel {
            tunnel = old
        } else {
            tunnel = try await makeTunnel(host: target.host, port: Int(target.port), order.model)
        }
        let facts: RPCServerFacts
        do throws(ShoalError) {
            facts = try await Self.probeWhenFree(tunnel, environment.eventLoop)
        } catch {
            throw error.during("seen from node \(environment.nodeName)")
        }
        try requireCurrent(order)
        self.tunnel = tunnel
        return RPCWorkerPrepared(
            processID: nil, protocolVersion: facts.protocolVersion,
            devices: facts.devices.map(RPCWorkerReport.Device.init), build: nil, address: address,
            hasModel: path != nil, restartCount: 0, facts: facts, serverNumber: tunnel.serverNumber)
    }

    // MARK: What both need

    /// Asks as soon as no session is open. Throws what the last attempt said.
    private static func probeWhenFree(
        _ tunnel: TunnelWorkerEnd, _ eventLoop: any EventLoop
    ) async throws(ShoalError) -> RPCServerFacts {
        let clock = ContinuousClock()
        let end = clock.now + sessionEndDeadline
        while true {
            do throws(ShoalError) {
                return try await tunnel.probe(eventLoop: eventLoop, deadline: probeDeadline)
            } catch {
                guard error.code != .protocolViolation, clock.now < end, !Task.isCancelled else { throw error }
            }
            // Cancellation shows in the next round.
            try? await Task.sleep(for: probePause)
        }
    }

    private func update(_ old: RPCWorkerPrepared, with facts: RPCServerFacts) -> RPCWorkerPrepared {
        var new = old
        new.devices = facts.devices.map(RPCWorkerReport.Device.init)
        new.facts = facts
        prepared = new
        return new
    }

    private func requireCurrent(_ order: RPCWorkerAssignment) throws(ShoalError) {
        guard assignment == order, !isUnloaded else {
            throw ShoalError(.cancelled, "generation \(order.generation) of the worker is not current")
        }
    }

    private func workEnded() {
        workCount -= 1
        guard workCount == 0 else { return }
        let waiters = workWaiters
        workWaiters = []
        for waiter in waiters { waiter.resume() }
    }
}

extension RPCWorkerReport.Device {
    /// Numbers of a foreign program: what does not fit is cut.
    init(_ device: RPCServerFacts.Device) {
        self.init(
            free: ByteCount(Int(clamping: min(device.freeByteCount, 1 << 60))),
            total: ByteCount(Int(clamping: min(device.totalByteCount, 1 << 60))))
    }
}

extension ProcessFailure {
    /// What the end of a stock program was.
    init(_ exit: EngineExit, logTail: [String]) {
        switch exit.cause {
        case .outOfMemory: self = .outOfMemory
        case .signal(let number): self.init(signal: number, logTail: logTail)
        case .device: self = .gpuDriver
        case .exited, .aborted, .hung, .thrashing: self.init(signal: nil, logTail: logTail)
        }
    }
}
