import Logging
import ShoalCore
import ShoalLaunch
import ShoalLinks
import ShoalTunnel

/// Workers: each is started and verified by its own node.
extension RPCHead {
    func workerName(_ worker: Int) -> String {
        let stage = order.stages[remoteStages[worker]]
        if let address = rpc.foreignAddresses[remoteStages[worker]] {
            return "the foreign worker of layers \(stage.layers) at \(address)"
        }
        return "the worker of layers \(stage.layers) on node \(stage.nodeName)"
    }

    func prepareWorker(_ worker: Int, _ generation: UInt32) async {
        let index = remoteStages[worker]
        let stage = order.stages[index]
        nodesToRelease.insert(stage.node)
        // A connection that waits for llama-server would keep the worker from being asked.
        tunnels[worker]?.coolDown()
        let assignment = RPCWorkerAssignment(
            instance: order.id, generation: generation, stage: index, model: order.model, head: node.id,
            foreignAddress: rpc.foreignAddresses[index], mustRestart: mustRestart.remove(worker) != nil)
        do throws(ShoalError) {
            let reply = try await node.ask(
                stage.node, .prepareWorker(assignment), deadline: node.configuration.limits.workerDeadline)
            guard case .workerPrepared(let ready) = reply else {
                throw ShoalError(.protocolViolation, "node \(stage.nodeName) answered something else to prepareWorker")
            }
            guard generation == lifecycle.generation else { return }
            prepared[worker] = ready
            try await requireSameBuild(ready, worker)
            try requireDevices(ready, worker)
            await warmUp(worker, ready)
            guard generation == lifecycle.generation else { return }
            perform(lifecycle.workerPrepared(worker, generation: generation, now: now))
            changed()
        } catch {
            perform(
                lifecycle.workerFailed(
                    worker, generation: generation, error: error.during(workerName(worker)), now: now))
        }
    }

    /// Whatever llama-server will need of the tunnel, while nobody waits for it. A failure is the launch's to tell.
    private func warmUp(_ worker: Int, _ ready: RPCWorkerPrepared) async {
        guard let tunnel = try? await tunnel(to: worker) else { return }
        tunnel.prime(ready.facts, serverNumber: ready.serverNumber)
        tunnel.warmUp()
    }

    /// Two builds of one protocol version may still compute differently, or crash on each other's graphs.
    private func requireSameBuild(_ ready: RPCWorkerPrepared, _ worker: Int) async throws(ShoalError) {
        guard let own = try await node.llamaFacts().build?.description, let theirs = ready.build, own != theirs else {
            return
        }
        throw ShoalError(
            .invalidPlacement,
            "its llama.cpp is \(theirs), that of the head \(rpc.headName) is \(own); install the same build on both")
    }

    private func requireDevices(_ ready: RPCWorkerPrepared, _ worker: Int) throws(ShoalError) {
        let layers = order.stages[remoteStages[worker]].layers
        guard !ready.devices.isEmpty else { throw ShoalError(.invalidPlacement, "it has no device") }
        guard ready.devices.count <= layers.count else {
            throw ShoalError(
                .invalidPlacement,
                "it has \(ready.devices.count) devices, which is more than its \(layers.count) layers")
        }
    }

    /// Right before the launch: whoever was prepared must still be there.
    func verifyWorkers(_ generation: UInt32) async {
        for worker in remoteStages.indices {
            let stage = order.stages[remoteStages[worker]]
            do throws(ShoalError) {
                let reply = try await node.ask(
                    stage.node, .inspectWorker(order.id, stage: remoteStages[worker]),
                    deadline: node.configuration.limits.requestDeadline)
                guard case .worker(let snapshot) = reply else {
                    throw ShoalError(
                        .protocolViolation, "node \(stage.nodeName) answered something else to inspectWorker")
                }
                let isForeign = rpc.foreignAddresses[remoteStages[worker]] != nil
                guard isForeign || (snapshot.processID != nil && !snapshot.isStopped) else {
                    throw ShoalError(.engineLost, "it ended, or was stopped, before llama-server could be started")
                }
                snapshots[worker] = snapshot
            } catch {
                return perform(
                    lifecycle.workerFailed(
                        worker, generation: generation, error: error.during(workerName(worker)), now: now))
            }
        }
        perform(lifecycle.workersVerified(generation: generation, now: now))
    }

    /// Layers of each device of a worker: in proportion to what the devices have free, at least one.
    func deviceLayerCounts(_ worker: Int) -> [Int] {
        let layerCount = order.stages[remoteStages[worker]].layers.count
        let free = (prepared[worker]?.devices ?? []).map { max(1, $0.free.rawValue >> 20) }
        return LayerShares.spread(layerCount, over: free)
    }

    /// The head's end of the tunnel to a worker, made when it is first needed.
    func tunnel(to worker: Int) async throws(ShoalError) -> TunnelHeadEnd {
        if let tunnel = tunnels[worker] { return tunnel }
        let index = remoteStages[worker]
        let holder = order.stages[index].node
        let path = try await node.models.path(of: order.model, nodeName: rpc.headName)
        let projector = rpc.options.multimodalProjectorPath.map { [$0] } ?? []
        let fresh = try await TunnelHeadEnd.start(
            configuration: .init(modelPaths: [path] + projector), eventLoop: node.dataLoop, logger: logger
        ) { [node, order] () throws(ShoalError) in
            try await node.openTunnel(to: holder, instance: order.id, stage: index)
        }
        // Meanwhile somebody else may have made it.
        if let tunnel = tunnels[worker] {
            await fresh.close()
            return tunnel
        }
        tunnels[worker] = fresh
        return fresh
    }

    // MARK: Watching

    /// Asks every worker's node how it does. One that does not answer keeps its last snapshot; its loss is noticed by
    /// its link.
    func lookAtWorkers() async {
        guard lifecycle.phase == .ready || lifecycle.phase.isLaunch else { return }
        let launch = server?.launch
        for worker in remoteStages.indices {
            let stage = order.stages[remoteStages[worker]]
            let reply = try? await node.ask(
                stage.node, .inspectWorker(order.id, stage: remoteStages[worker]),
                deadline: node.configuration.limits.requestDeadline)
            // A server that was launched meanwhile has other workers.
            guard server?.launch == launch else { return }
            guard case .worker(let snapshot)? = reply else { continue }
            snapshots[worker] = snapshot
            if isFrozen("worker \(worker)", snapshot.isStopped) {
                mustRestart.insert(worker)
                return serverFailed(
                    ShoalError(
                        .engineLost,
                        "\(workerName(worker)) (process \(snapshot.processID ?? 0)) is frozen: a signal stopped it"))
            }
        }
    }

    /// Whether a process has been stopped for longer than somebody may look at it.
    func isFrozen(_ who: String, _ isStopped: Bool) -> Bool {
        guard isStopped else {
            stoppedSince[who] = nil
            return false
        }
        let since = stoppedSince[who] ?? now
        stoppedSince[who] = since
        guard now - since >= node.configuration.limits.frozenProcessGrace else { return false }
        stoppedSince[who] = nil
        return true
    }

    /// Bytes through all tunnels, both ways.
    var tunnelByteCount: Int {
        tunnels.reduce(0) { sum, tunnel in
            guard let counters = tunnel?.counters else { return sum }
            return sum + counters.sentByteCount + counters.receivedByteCount
        }
    }

    /// The worker that llama-server has waited for longest, with how long.
    var longestAwaitedWorker: (worker: Int, since: ContinuousClock.Instant)? {
        tunnels.indices.compactMap { worker in
            tunnels[worker]?.counters.unansweredSince.map { (worker, $0) }
        }.min { $0.1 < $1.1 }
    }
}
