import Logging
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalWire

/// What other nodes, and heads on this one, ask of this node.
extension Node {
    /// Answers a control request. `link` is nil when a head on this node asks.
    func answer(_ request: ControlRequest, from link: ControlLink?) async throws(ShoalError) -> ControlReply {
        guard !isStopping || link == nil else {
            throw ShoalError(.unavailable, "node \(configuration.name) is shutting down")
        }
        switch request {
        case .prepareStage(let assignment): return .stagePrepared(try await prepareStage(assignment))
        case .connectStage(let instance, let generation):
            try await stage(of: instance).connect(generation: generation)
            return .done
        case .inspectStage(let instance): return .stage(try await stage(of: instance).snapshot())
        case .unloadStage(let instance):
            await unloadStage(instance)
            return .done
        case .startInstance(let order): return .instance(try await startHead(order))
        case .stopInstance(let instance):
            try await stopHead(instance)
            return .done
        case .generate(let request, let instance):
            try await generate(request, on: instance, for: link)
            return .done
        }
    }

    private func stage(of instance: InstanceID) throws(ShoalError) -> StageHost {
        guard let stage = stages[instance] else {
            throw ShoalError(.notFound, "node \(configuration.name) holds no stage of instance \(instance)")
        }
        return stage
    }

    // MARK: Stages

    private func prepareStage(_ order: StageAssignment) async throws(ShoalError) -> StagePrepared {
        var assignment = order
        assignment.load.path = try await models.path(of: order.model, nodeName: configuration.name)
        assignment.load.threadCount = configuration.threadCount
        let stage = stages[order.instance] ?? makeStage(order)
        stages[order.instance] = stage
        stageHeads[order.instance] = order.head
        return try await stage.prepare(assignment)
    }

    private func makeStage(_ order: StageAssignment) -> StageHost {
        let instance = order.instance
        var stageLogger = logger
        stageLogger[metadataKey: "instance.id"] = "\(instance)"
        return StageHost(
            instance: instance, eventLoop: dataLoop, launcher: launcher, logger: stageLogger,
            dial: { [weak self] assignment throws(ShoalError) in
                guard let self, let downstream = assignment.downstream else {
                    throw ShoalError(.internal, "the last stage has no next one")
                }
                return try await self.dialStage(
                    on: downstream, instance: assignment.instance, generation: assignment.generation,
                    boundary: assignment.stageIndex + 1)
            },
            notify: { [inboxContinuation, stageIndex = order.stageIndex] notice in
                inboxContinuation.yield(.stageNotice(notice, instance, stageIndex: stageIndex))
            })
    }

    func unloadStage(_ instance: InstanceID) async {
        let stage = stages.removeValue(forKey: instance)
        stageHeads[instance] = nil
        await stage?.unload()
    }

    /// Tells the stage's head, wherever it is.
    private func report(_ notice: StageNotice, _ instance: InstanceID, stageIndex: Int) async {
        guard let head = stageHeads[instance] else { return }
        guard head == id else {
            guard let link = peers.link(to: head) else { return }
            return send(notice.event(instance, stageIndex: stageIndex), over: link)
        }
        await tellHead(notice, instance, stageIndex: stageIndex)
    }

    private func tellHead(_ notice: StageNotice, _ instance: InstanceID, stageIndex: Int) async {
        switch notice {
        case .progress(let generation, let fraction):
            await heads[instance]?.stageProgressed(stageIndex, generation: generation, fraction: fraction)
        case .lost(let generation, let error):
            await heads[instance]?.stageLost(stageIndex, generation: generation, error: error)
        }
    }

    // MARK: Heads

    func startHead(_ order: InstanceOrder) async throws(ShoalError) -> InstanceReport {
        guard order.stages.last?.node == id else {
            throw ShoalError(
                .invalidPlacement, "node \(configuration.name) does not hold the last stage of \(order.id)")
        }
        guard heads.all.count < Limits.instanceCountMax else {
            throw ShoalError(
                .overloaded, "node \(configuration.name) heads \(Limits.instanceCountMax) instances already")
        }
        guard heads[order.id] == nil else {
            throw ShoalError(.invalidRequest, "instance \(order.id) runs already")
        }
        let head = HeadService(order: order, node: self)
        heads.insert(head, for: order.id)
        await head.start()
        let report = await head.report()
        ownReports[order.id] = report
        return report
    }

    func stopHead(_ instance: InstanceID) async throws(ShoalError) {
        guard let head = heads[instance] else {
            throw ShoalError(.notFound, "node \(configuration.name) heads no instance \(instance)")
        }
        await head.stop(ShoalError(.unavailable, "the instance was stopped"))
    }

    /// A request whose client is at another node.
    private func generate(
        _ request: GenerationRequest, on instance: InstanceID, for link: ControlLink?
    ) async throws(ShoalError) {
        guard let head = heads[instance], let link else {
            throw ShoalError(.notFound, "node \(configuration.name) heads no instance \(instance)")
        }
        requestsByLink[ObjectIdentifier(link), default: [:]][request.id] = instance
        do throws(ShoalError) {
            try await head.submit(request) { [self] event in
                send(.generation(request.id, event), over: link)
                if event.isTerminal { inboxContinuation.yield(.requestEnded(request.id, link)) }
            }
        } catch {
            requestsByLink[ObjectIdentifier(link)]?[request.id] = nil
            throw error
        }
    }

    /// Answers whose reader's node is gone.
    func cancelRequests(of link: ControlLink) async {
        for (request, instance) in requestsByLink.removeValue(forKey: ObjectIdentifier(link)) ?? [:] {
            await heads[instance]?.cancel(request)
        }
    }

    // MARK: Events

    func handle(_ event: NodeEvent) async {
        switch event {
        case .linkAccepted(let connection, let hello): await accept(connection, hello)
        case .linkClosed(let link, let error):
            await cancelRequests(of: link)
            await linkClosed(link, because: error)
        case .control(let event, let link): await handle(event, from: link)
        case .stageNotice(let notice, let instance, let stageIndex):
            await report(notice, instance, stageIndex: stageIndex)
        case .headChanged(let report): headChanged(report)
        case .headEnded(let instance):
            heads.remove(instance)
            ownReports[instance] = nil
            broadcast(.instances(Array(ownReports.values)))
        case .orphanCheck(let head): await freeOrphans(of: head)
        case .requestEnded(let request, let link): requestsByLink[ObjectIdentifier(link)]?[request] = nil
        }
    }

    private func headChanged(_ report: InstanceReport) {
        guard let old = ownReports[report.id] else { return }
        ownReports[report.id] = report
        if old.phase != report.phase || old.problem != report.problem {
            broadcast(.instances(Array(ownReports.values)))
        }
    }

    private func handle(_ event: ControlEvent, from link: ControlLink) async {
        switch event {
        case .node(let announcement):
            if announcement.id == link.peer.nodeID { peers.announce(announcement) }
        case .members(let records): await learn(records)
        case .instances(let reports):
            announced[link.peer.nodeID] = Array(reports.prefix(Limits.instanceCountMax))
        case .linkAddresses(let addresses):
            for address in addresses.prefix(Limits.peerCountMax) where address != linkAddress {
                if !peers.connected.values.contains(where: { $0.hello.linkAddress == address }) { connect(to: address) }
            }
        case .stageProgress(let instance, let generation, let stageIndex, let fraction):
            await tellHead(.progress(generation: generation, fraction: fraction), instance, stageIndex: stageIndex)
        case .stageLost(let instance, let generation, let stageIndex, let error):
            await tellHead(.lost(generation: generation, error), instance, stageIndex: stageIndex)
        case .generation, .consumed, .cancel: break  // Handled on the data loop, in order.
        }
    }
}

extension StageNotice {
    fileprivate func event(_ instance: InstanceID, stageIndex: Int) -> ControlEvent {
        switch self {
        case .progress(let generation, let fraction):
            .stageProgress(instance, generation: generation, stageIndex: stageIndex, fraction: fraction)
        case .lost(let generation, let error):
            .stageLost(instance, generation: generation, stageIndex: stageIndex, error)
        }
    }
}
