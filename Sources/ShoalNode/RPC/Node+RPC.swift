import Logging
import NIOCore
import NIOPosix
package import ShoalCore
import ShoalEngine
import ShoalLaunch
import ShoalLinks
import ShoalRPC
import ShoalTunnel

/// What this node does for instances of the rpc engine.
extension Node {
    nonisolated var logDirectory: String { configuration.dataDirectory + "/logs" }

    /// Throws `engineLost` where llama.cpp's programs are missing.
    nonisolated func requireTools() throws(ShoalError) -> LlamaTools {
        guard let llamaTools else {
            throw ShoalError(
                .engineLost,
                "node \(configuration.name) has no llama-server and ggml-rpc-server; build them with make engine, or "
                    + "name their folder with --llama-bin")
        }
        return llamaTools
    }

    nonisolated func llamaFacts() async throws(ShoalError) -> LlamaToolFacts { try await requireTools().facts() }

    // MARK: Workers here

    func prepareWorker(_ order: RPCWorkerAssignment, from link: ControlLink?) async throws(ShoalError)
        -> RPCWorkerPrepared
    {
        guard order.head == link?.peer.nodeID ?? id else {
            throw ShoalError(.invalidPlacement, "a worker was assigned in the name of node \(order.head)")
        }
        guard !unloadedInstances.contains(order.instance), !isStopping else {
            throw ShoalError(.cancelled, "instance \(order.instance) was unloaded on node \(configuration.name)")
        }
        guard (0..<Limits.stageCountMax).contains(order.stage) else {
            throw ShoalError(.invalidPlacement, "a worker for stage \(order.stage), which cannot be")
        }
        if let address = order.foreignAddress, !configuration.foreignWorkers.contains(address) {
            throw ShoalError(
                .invalidPlacement,
                "node \(configuration.name) carries no traffic for \(address); name it with --rpc-worker \(address)")
        }
        let worker = workers[order.instance]?[order.stage] ?? makeWorker(order)
        workers[order.instance, default: [:]][order.stage] = worker
        stageHeads[order.instance] = order.head
        return try await worker.prepare(order)
    }

    private func makeWorker(_ order: RPCWorkerAssignment) -> RPCWorkerHost {
        var workerLogger = logger
        workerLogger[metadataKey: "instance.id"] = "\(order.instance)"
        let environment = RPCWorkerHost.Environment(
            tools: llamaTools, models: models, nodeName: configuration.name, linkAddress: linkAddress,
            logDirectory: logDirectory, threadCount: configuration.threadCount, eventLoop: dataLoop,
            pieceCache: { [weak self] in await self?.pieceCache() }, logger: workerLogger)
        let (instance, stage) = (order.instance, order.stage)
        return RPCWorkerHost(environment: environment) { [inbox] notice in
            inbox.post(.stageNotice(notice, instance, stageIndex: stage))
        }
    }

    func inspectWorker(_ instance: InstanceID, _ stage: Int) async throws(ShoalError) -> RPCWorkerSnapshot {
        guard let worker = workers[instance]?[stage] else {
            throw ShoalError(.notFound, "node \(configuration.name) runs no worker \(stage) of instance \(instance)")
        }
        return await worker.snapshot()
    }

    func unloadWorkers(_ instance: InstanceID) async {
        for worker in (workers.removeValue(forKey: instance) ?? [:]).values { await worker.unload() }
    }

    /// One for all models; nil, and logged once, when its folder cannot be used.
    private func pieceCache() async -> PieceCache? {
        if let keptPieces { return keptPieces }
        let folder = configuration.dataDirectory + "/pieces"
        let byteCountMax = configuration.limits.pieceCacheByteCountMax
        do throws(ShoalError) {
            let fresh = try await ModelLibrary.onFileThread { () throws(ShoalError) in
                try PieceCache(folder: folder, byteCountMax: byteCountMax)
            }
            // Meanwhile another worker may have opened it.
            if keptPieces == nil { keptPieces = fresh }
        } catch {
            logger.warning("weights from the network are not kept", metadata: ["error": "\(error)"])
        }
        return keptPieces
    }

    // MARK: Tunnels

    /// The other end of a tunnel was dialled by the head, or by a node with a client for llama-server.
    func acceptTunnel(_ connection: FrameConnection, _ instance: InstanceID, _ target: LinkHello.TunnelTarget) {
        // Ends with the connection.
        Task {
            do throws(ShoalError) {
                let peer = try await PeerStream(connection)
                try await self.serveTunnel(peer, instance, target)
            } catch {
                self.logger.info("a tunnel could not be served", metadata: ["error": "\(error)"])
                connection.close(because: error)
            }
        }
    }

    private func serveTunnel(
        _ peer: PeerStream, _ instance: InstanceID, _ target: LinkHello.TunnelTarget
    ) async throws(ShoalError) {
        switch target {
        case .worker(let stage):
            guard let worker = workers[instance]?[stage] else {
                throw ShoalError(.notFound, "node \(configuration.name) runs no worker \(stage) of \(instance)")
            }
            await worker.serve(peer)
        case .server:
            guard let head = heads.any(instance) as? RPCHead, let port = await head.serverPort else {
                throw ShoalError(.unavailable, "node \(configuration.name) runs no llama-server of \(instance) now")
            }
            let server = try await Splice.connect(
                host: "127.0.0.1", port: port, eventLoop: dataLoop, deadline: configuration.limits.dialDeadline)
            try await Splice.join(near: server, far: peer.channel, firstBytes: peer.firstBytes)
        }
    }

    /// A stream to the worker's end, wherever it is.
    nonisolated func openTunnel(
        to holder: NodeID, instance: InstanceID, stage: Int
    ) async throws(ShoalError) -> PeerStream {
        guard holder == id else {
            return try await PeerStream(
                openDataLink(to: holder, purpose: .tunnel(instance: instance, .worker(stage: stage))))
        }
        let (ours, theirs) = try await LoopbackPair.make(eventLoop: dataLoop)
        // Ends with the connection.
        Task {
            do throws(ShoalError) {
                try await self.serveTunnel(PeerStream(channel: theirs), instance, .worker(stage: stage))
            } catch {
                theirs.close(promise: nil)
            }
        }
        return PeerStream(channel: ours)
    }

    // MARK: The server's HTTP

    package func serverAddress(of instance: InstanceID) async throws(ShoalError) -> ServerAddress {
        guard let report = await instances().first(where: { $0.id == instance }), report.engine == .rpc else {
            throw ShoalError(.notFound, "there is no instance \(instance) of the rpc engine")
        }
        if let head = heads.any(instance) as? RPCHead {
            guard let port = await head.serverPort else {
                throw ShoalError(
                    .unavailable, "llama-server of \(report.model) is not running: \(report.phase.rawValue)")
            }
            return ServerAddress(host: "127.0.0.1", port: port)
        }
        let head = report.head
        let forwarder: LoopbackForwarder
        if let known = serverForwarders[instance] {
            forwarder = known
        } else {
            forwarder = try await LoopbackForwarder.start(eventLoop: dataLoop) { [self] () throws(ShoalError) in
                let peer = try await PeerStream(
                    openDataLink(to: head, purpose: .tunnel(instance: instance, .server)))
                return (peer.channel, peer.firstBytes)
            }
        }
        // Meanwhile another request may have made one.
        if let known = serverForwarders[instance], known !== forwarder {
            forwarder.close()
            return ServerAddress(host: "127.0.0.1", port: known.port)
        }
        serverForwarders[instance] = forwarder
        return ServerAddress(host: "127.0.0.1", port: forwarder.port)
    }

    /// Ports of instances that are gone.
    func closeUnusedForwarders() async {
        guard !serverForwarders.isEmpty else { return }
        let alive = Set(await instances().filter(\.phase.isAlive).map(\.id))
        for (instance, forwarder) in serverForwarders where !alive.contains(instance) {
            forwarder.close()
            serverForwarders[instance] = nil
        }
    }

    // MARK: What this node can do

    /// Asks the installed programs and the foreign workers who they are, in the background, again and again.
    func learnCapabilities() async {
        guard llamaTools != nil || !configuration.foreignWorkers.isEmpty else { return }
        let interval = Duration.seconds(10)
        repeat {
            await learnCapability()
            // Cancellation ends the wait, and the loop with it.
        } while (try? await Task.sleep(for: interval)) != nil
    }

    private func learnCapability() async {
        var found = RPCCapability(build: nil, canWork: false, gpus: [], foreignWorkers: [], problem: nil)
        if let llamaTools {
            do throws(ShoalError) {
                let facts = try await llamaTools.facts()
                found.build = facts.build?.description
                found.gpus = facts.gpus.map { .init(free: $0.free, total: $0.total) }
                found.canWork = true
            } catch {
                found.problem = error.message
                found.canWork = (try? await llamaTools.workerHelp()) != nil
            }
        } else {
            found.problem = "llama-server and ggml-rpc-server were not found"
        }
        for address in configuration.foreignWorkers.prefix(Limits.foreignWorkerCountMax) {
            found.foreignWorkers.append(await foreignReport(address, last: rpcCapability?.foreignWorkers))
        }
        let isNews = rpcCapability?.foreignWorkers != found.foreignWorkers
        let isFirst = rpcCapability == nil
        rpcCapability = found
        if isFirst { broadcast(.node(announcement())) }
        if isNews { tellOfForeignWorkers(found.foreignWorkers) }
        configuration.onChange()
    }

    /// A worker that serves an instance is not asked: it has ears for one client only.
    private func foreignReport(_ address: String, last: [ForeignWorkerReport]?) async -> ForeignWorkerReport {
        let known = last?.first { $0.address == address }
        if let known, known.problem == nil, isForeignWorkerInUse(address) { return known }
        var report = ForeignWorkerReport(address: address)
        do throws(ShoalError) {
            let target = try LinkAddress(parsing: address)
            let facts = try await RPCClient.facts(
                host: target.host, port: Int(target.port), eventLoop: dataLoop,
                deadline: configuration.limits.dialDeadline)
            report.protocolVersion = facts.protocolVersion
            report.devices = facts.devices.map(RPCWorkerReport.Device.init)
        } catch {
            report.problem = error.message
        }
        return report
    }

    func isForeignWorkerInUse(_ address: String) -> Bool {
        (Array(ownReports.values) + announced.values.joined()).contains { instance in
            instance.phase.isAlive
                && instance.stages.contains { $0.worker?.isForeign == true && $0.worker?.address == address }
        }
    }

    private func tellOfForeignWorkers(_ reports: [ForeignWorkerReport]) {
        for report in reports {
            let memory = report.devices.map { "\($0.free) free of \($0.total)" }.joined(separator: ", ")
            logger.notice(
                "foreign worker",
                metadata: [
                    "worker.address": "\(report.address)",
                    "worker.state": "\(report.problem ?? "protocol \(report.protocolVersion ?? "?"), \(memory)")",
                    "worker.security":
                        "the way between this node and it is plain TCP, neither authenticated nor encrypted",
                ])
        }
    }
}

extension RPCHead {
    /// Nil while no llama-server runs.
    var serverPort: Int? { server?.port }
}
