import Logging
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalLaunch
import ShoalRPC
import ShoalTunnel

/// llama-server: its command line, its launch, and whether it computes.
extension RPCHead {
    /// Lines that mean something and wait to be looked at.
    private static let waitingLineCountMax = 4096
    private static let probeDeadline = TimeAmount.seconds(120)
    /// For the question whether the model's loop is free.
    private static let loopDeadline = TimeAmount.seconds(2)

    func launchServer(_ generation: UInt32) async {
        do throws(ShoalError) {
            let settle = node.configuration.settleDuration
            // Cancellation ends the instance, and the wait with it.
            if settle > .zero { try? await Task.sleep(for: settle) }
            guard generation == lifecycle.generation else { return launchDropped() }
            let command = try await serverCommand()
            let facts = try await node.llamaFacts()
            let (arguments, told) = try command.arguments(help: facts.serverHelp)
            guard generation == lifecycle.generation, lifecycle.phase == .launching else { return launchDropped() }
            notes = told
            for note in told { logger.notice("llama-server option", metadata: ["note": "\(note)"]) }
            try await start(arguments, port: command.port, generation: generation)
        } catch {
            perform(lifecycle.serverFailed(generation: generation, error: error, now: now))
            launchDropped()
        }
    }

    /// The lifecycle waits for the end of a server that was never there.
    private func launchDropped() {
        guard server == nil else { return }
        perform(lifecycle.serverEnded(error: nil, now: now))
    }

    private func start(_ arguments: [String], port: Int, generation: UInt32) async throws(ShoalError) {
        let tools = try node.requireTools()
        let launch = lifecycle.launchCount
        let (lines, continuation) = AsyncStream.makeStream(
            of: ServerLogLine.self, bufferingPolicy: .bufferingOldest(Self.waitingLineCountMax))
        let program = StockProcess.Program(
            path: tools.paths.server, arguments: arguments, environment: tools.environment,
            label: "\(order.model.name)-\(order.id)-server", logDirectory: node.logDirectory)
        // Where they are read: lines that mean nothing, however many, must not crowd out those that prove the launch.
        let process = try await StockProcess.start(program) { text in
            let line = ServerLogLine(classifying: text)
            if line.matters { continuation.yield(line) }
        }
        logger.info("llama-server started", metadata: ["command": "\(process.launchRecord.shellCommand)"])
        latestServer = process
        server = RunningServer(launch: launch, generation: generation, port: port, process: process)
        stoppedSince = [:]
        watchdog = ComputeWatchdog(
            configuration: launchWatchdog, hasBlindSpot: !rpc.foreignAddresses.isEmpty, now: now)
        // Ends with the process: its log ends the lines.
        run { head in
            for await line in lines { head.said(line, launch) }
        }
        run { head in
            let exit = await process.waitForExit()
            continuation.finish()
            head.serverEnded(launch, exit)
        }
        run { await $0.pollHealth(launch) }
        guard generation == lifecycle.generation, lifecycle.phase == .launching else { return endServer() }
        changed()
    }

    /// Loading may pause for longer than computing: files are read, GPUs are set up.
    private var launchWatchdog: ComputeWatchdog.Configuration {
        var configuration = node.configuration.limits.watchdog
        configuration.stallMax = max(configuration.stallMax, .seconds(60))
        configuration.blindStallMax = max(configuration.blindStallMax, .seconds(120))
        return configuration
    }

    func serverCommand() async throws(ShoalError) -> ServerCommand {
        var workers: [ServerCommand.Worker] = []
        for worker in remoteStages.indices {
            let tunnel = try await tunnel(to: worker)
            workers.append(
                ServerCommand.Worker(
                    endpoint: "127.0.0.1:\(tunnel.port)", deviceLayerCounts: deviceLayerCounts(worker)))
        }
        let gpus = try await node.llamaFacts().gpus
        let path = try await node.models.path(of: order.model, nodeName: rpc.headName)
        var command = ServerCommand(
            modelPath: path, alias: order.model.name, port: try await FreePort.any(on: node.dataLoop),
            workers: workers, local: local(gpus), contextTokenCount: order.contextTokenCount,
            sequenceCount: order.sequenceCountMax, batchTokenCount: rpc.options.batchTokenCount ?? 2048,
            microBatchTokenCount: rpc.options.microBatchTokenCount ?? 512,
            threadCount: node.configuration.threadCount, loadMode: Self.loadMode, extra: rpc.options)
        command.isVerbose = rpc.options.isVerbose
        command.hidesLocalGPUs = !gpus.isEmpty && !command.usesLocalGPUs
        proof = LaunchProof(devices: command.devices)
        weightBytesBeforeLaunch = tunnels.map { $0?.counters.weights.allByteCount ?? 0 }
        return command
    }

    private func local(_ gpus: [ListedDevice]) -> ServerCommand.Local {
        guard let stage = rpc.localStage else { return .processor(layerCount: 0) }
        let count = order.stages[stage].layers.count
        guard !gpus.isEmpty, stage == order.stages.count - 1 else { return .processor(layerCount: count) }
        let used = gpus.prefix(count).map { max(1, $0.free.rawValue >> 20) }
        return .gpus(layerCounts: LayerShares.spread(count, over: used))
    }

    /// Android's storage gives mapped files back too eagerly.
    private static var loadMode: String? {
        #if os(Android)
            "none"
        #else
            nil
        #endif
    }

    // MARK: What it says

    private func said(_ line: ServerLogLine, _ launch: Int) {
        guard let server, server.launch == launch else { return }
        if case .failure(let failure, let words) = line {
            explain("llama-server said", ["failure": "\(failure.rawValue)", "line": "\(words)"])
        }
        guard proof.saw(line) else { return }
        // Not at the next turn of the schedule: nobody else waits for it.
        if proof.suggestsHealth { run { await $0.checkHealth(launch) } }
        let phase: InstancePhase =
            switch line {
            case .device: .handshaking
            case .loadingTensors, .offloaded, .buffer(.model, _, _): .loading
            case .warmingUp, .modelLoaded, .listening: .warming
            default: lifecycle.phase
            }
        lifecycle.serverMoved(to: phase, generation: server.generation, now: now)
        changed()
    }

    /// Asks /health by its schedule, and once more as soon as the log says that the model is loaded. When it is
    /// healthy, the proof is completed.
    private func pollHealth(_ launch: Int) async {
        let begin = now
        var lastPoll = now
        while let server, server.launch == launch, lifecycle.phase.isLaunch {
            let isDue = now - lastPoll >= HealthSchedule.interval(elapsed: now - begin)
            if isDue || proof.suggestsHealth {
                lastPoll = now
                await checkHealth(server.launch)
            }
            guard !proof.isHealthy else { return }
            // Cancellation ends the instance, and with it the server and this loop.
            try? await Task.sleep(for: HealthSchedule.turn)
        }
    }

    private func checkHealth(_ launch: Int) async {
        guard let server, server.launch == launch, lifecycle.phase.isLaunch, await server.client.isHealthy() else {
            return
        }
        // The log and the schedule may both have asked.
        guard self.server?.launch == launch, !proof.isHealthy else { return }
        proof.saw(.healthy)
        await prove(server)
    }

    private func prove(_ server: RunningServer) async {
        lifecycle.serverMoved(to: .warming, generation: server.generation, now: now)
        changed()
        // The log is read by another task and may be a moment behind.
        for _ in 0..<100 where !proof.devicesWithoutModel.isEmpty {
            // Cancellation shows in what follows.
            try? await Task.sleep(for: .milliseconds(20))
        }
        do throws(ShoalError) {
            try requireModelEverywhere()
            try await server.client.probe(rpc.options, deadline: Self.probeDeadline)
            guard self.server?.launch == server.launch else { return }
            proof.saw(.answered)
            perform(lifecycle.serverProven(generation: server.generation, now: now))
        } catch {
            guard self.server?.launch == server.launch else { return }
            serverFailed(error)
        }
    }

    /// A device without a part of the model computes nothing, whatever the command line says.
    private func requireModelEverywhere() throws(ShoalError) {
        guard let missing = proof.devicesWithoutModel.first else { return }
        let planned = order.stages.map { "\($0.nodeName) \($0.layers)" }.joined(separator: ", ")
        let what =
            switch missing {
            case .worker(let endpoint, let index): "device \(index) of the worker behind \(endpoint)"
            case .local(let index): "GPU \(index) of the head"
            }
        throw ShoalError(
            .engineLost,
            "not distributed: llama-server is up, but \(what) holds no part of the model; planned were \(planned)")
    }

    // MARK: Whether it computes

    /// Once a second: does the model's loop answer, and if it does not, does anything move?
    func lookAtServer() async {
        guard let server, lifecycle.phase == .ready || lifecycle.phase.isLaunch else { return }
        if isFrozen("server", server.process.isStopped) {
            return serverFailed(
                ShoalError(
                    .engineLost, "llama-server (process \(server.process.processID)) is frozen: a signal stopped it"))
        }
        let before = tunnelByteCount
        if lifecycle.phase == .ready, let count = await server.client.processingCount(deadline: Self.loopDeadline) {
            guard self.server?.launch == server.launch else { return }
            runningRequestCount = count
            watchdog?.loopAnswered(now: now)
        }
        guard self.server?.launch == server.launch else { return }
        watchdog?.tunnelsCarried(before, now: now)
        if let seconds = processorSeconds(of: server) { watchdog?.processorsUsed(seconds, now: now) }
        if let watchdog, watchdog.silence(now: now) < .seconds(5) { lifecycle.progressed(now: now) }
        if watchdog?.isHung(now: now) == true { serverFailed(hung()) }
    }

    /// Of llama-server and all workers; nil when one is not known.
    private func processorSeconds(of server: RunningServer) -> Double? {
        guard var sum = server.process.processorSeconds else { return nil }
        for worker in remoteStages.indices where rpc.foreignAddresses[remoteStages[worker]] == nil {
            guard let seconds = snapshots[worker]?.processorSeconds else { return nil }
            sum += seconds
        }
        return sum
    }

    private func hung() -> ShoalError {
        let seconds = watchdog.map { Int($0.silence(now: now) / .seconds(1)) } ?? 0
        var text = "no token progress for \(seconds) s: no byte crosses a tunnel and no process computes"
        if let awaited = longestAwaitedWorker {
            mustRestart.insert(awaited.worker)
            text += "; \(workerName(awaited.worker)) owes an answer"
        }
        return ShoalError(.engineLost, text)
    }

    // MARK: Its end

    func serverFailed(_ error: ShoalError) {
        guard let server else { return }
        explain("llama-server given up", ["error": "\(error)"])
        perform(lifecycle.serverFailed(generation: server.generation, error: error, now: now))
    }

    /// Now: whoever waits for an answer of it must learn that none comes.
    func endServer() {
        guard let server else { return }
        run { _ in await server.process.kill() }
    }

    private func serverEnded(_ launch: Int, _ exit: EngineExit) {
        guard let server, server.launch == launch else { return }
        self.server = nil
        guard !exit.wasRequested else { return perform(lifecycle.serverEnded(error: nil, now: now)) }
        let failure = ProcessFailure(exit, logTail: server.process.logTail())
        let cause = cause(of: failure, exit)
        logger.warning(
            "llama-server ended", metadata: ["server.failure": "\(failure.rawValue)", "error": "\(cause)"])
        run { head in
            // The worker's node may be about to say why; llama-server only knows that somebody is gone.
            if failure == .workerLost { try? await Task.sleep(for: .milliseconds(150)) }
            head.perform(head.lifecycle.serverEnded(error: cause, now: head.now))
        }
    }

    private func cause(of failure: ProcessFailure, _ exit: EngineExit) -> ShoalError {
        let words = failure.words(in: latestServer?.logTail() ?? [])
        var text = words.map { "llama-server ended: \($0)" } ?? exit.sentence(of: "llama-server")
        text += "; \(failure.advice)"
        if failure == .workerLost {
            let errors = tunnels.indices.compactMap { worker in
                tunnels[worker]?.counters.lastError.map { "\(workerName(worker)): \($0)" }
            }
            if !errors.isEmpty { text += "; " + errors.joined(separator: "; ") }
        }
        let code: ShoalError.Code =
            failure == .modelUnreadable ? .malformedModel : failure.isPermanent ? .invalidPlacement : .engineLost
        return ShoalError(code, text)
    }

    func serverLog() -> EngineLogReport? {
        guard let latestServer else { return nil }
        var report = EngineLogReport(
            instance: order.id, model: order.model.name, nodeName: rpc.headName,
            stageIndex: rpc.localStage ?? order.stages.count, processID: server?.process.processID,
            launch: latestServer.launchRecord, lines: latestServer.logTail())
        report.program = "llama-server"
        return report
    }
}
