import Logging
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalMembership
import ShoalWire

/// What other nodes, and heads on this one, ask of this node.
extension Node {
    /// Answers a control request. `link` is nil when a head on this node asks.
    func answer(_ request: ControlRequest, from link: ControlLink?) async throws(ShoalError) -> ControlReply {
        guard !isStopping || link == nil else {
            // For a head this is a node that goes away and may come back, like one whose link is lost.
            throw ShoalError(.linkLost, "node \(configuration.name) is shutting down")
        }
        switch request {
        case .prepareStage(let assignment):
            try assignment.validate(sender: link?.peer.nodeID ?? id)
            return .stagePrepared(try await prepareStage(assignment, from: link))
        case .connectStage(let instance, let generation):
            try await stage(of: instance).connect(generation: generation)
            return .done
        case .inspectStage(let instance): return .stage(try await stage(of: instance).snapshot())
        case .unloadStage(let instance):
            if unloadedInstances.count >= Self.unloadedInstanceCountMax { unloadedInstances.removeFirst() }
            unloadedInstances.append(instance)
            await unloadStage(instance)
            return .done
        case .startInstance, .stopInstance, .drainInstance, .adoptInstance:
            return try await obey(request, of: link?.peer.nodeID ?? id)
        case .load(let wish): return .instance(try await keeper.load(wish, for: link?.peer.nodeID ?? id))
        case .unload(let slot, let instance, let head):
            try await keeper.unload(slot, instance, on: head)
            return .done
        case .planInstance(let wish): return .order(try await order(for: wish))
        case .reportInstance(let instance):
            guard let head = heads.any(instance) else {
                throw ShoalError(.notFound, "node \(configuration.name) heads no instance \(instance)")
            }
            return .instance(await head.report())
        case .prepareWorker(let assignment):
            return .workerPrepared(try await prepareWorker(assignment, from: link))
        case .inspectWorker(let instance, let stage): return .worker(try await inspectWorker(instance, stage))
        case .engineLogs(let instance): return .engineLogs(await ownEngineLogs(of: instance))
        case .traces(let request): return .traces(await ownTraces(of: request))
        case .dialBack(let order):
            try await dialBack(order, from: remote(link))
            return .done
        case .openRelay(let order):
            try await openRelay(order, from: remote(link))
            return .done
        case .joinRelay(let offer):
            try await joinRelay(offer, from: remote(link))
            return .done
        case .generate(let request, let instance):
            try await generate(request, on: instance, for: link)
            return .done
        }
    }

    private func remote(_ link: ControlLink?) throws(ShoalError) -> ControlLink {
        guard let link else { throw ShoalError(.invalidRequest, "a node needs no connection to itself") }
        return link
    }

    private func stage(of instance: InstanceID) throws(ShoalError) -> StageHost {
        guard let stage = stages[instance] else {
            throw ShoalError(.notFound, "node \(configuration.name) holds no stage of instance \(instance)")
        }
        return stage
    }

    // MARK: Stages

    private func prepareStage(_ order: StageAssignment, from link: ControlLink?) async throws(ShoalError)
        -> StagePrepared
    {
        var assignment = order
        // A living engine is only reset, for which its file need not be there any more.
        if let path = await stages[order.instance]?.loadedPath {
            assignment.load.path = path
        } else {
            assignment.load.path = try await models.path(of: order.model, nodeName: configuration.name)
        }
        assignment.load.threadCount = configuration.threadCount
        // Meanwhile the instance may have been unloaded, or its head lost, and nobody would unload this stage any more.
        guard !unloadedInstances.contains(order.instance), !isStopping else {
            throw ShoalError(.cancelled, "instance \(order.instance) was unloaded on node \(configuration.name)")
        }
        if let link, !peers.contains(link) {
            throw ShoalError(.linkLost, "the link to node \(link.peer.nodeName) was lost")
        }
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
            notify: { [inbox, stageIndex = order.stageIndex] notice in
                inbox.post(.stageNotice(notice, instance, stageIndex: stageIndex))
            })
    }

    func unloadStage(_ instance: InstanceID) async {
        let stage = stages.removeValue(forKey: instance)
        stageHeads[instance] = nil
        await stage?.unload()
        await unloadWorkers(instance)
    }

    /// As `unloadStage`, without waiting for the engine's end.
    func unloadStageInBackground(_ instance: InstanceID) {
        guard let stage = stages.removeValue(forKey: instance) else { return }
        stageHeads[instance] = nil
        endInBackground { _ in await stage.unload() }
    }

    /// The end of engines that nobody waits for.
    func endInBackground(_ body: @escaping @Sendable (isolated Node) async -> Void) {
        unloadTaskCount += 1
        let number = unloadTaskCount
        // Ends by itself: an engine is killed after its grace. `shutDown` waits for it.
        unloadTasks[number] = Task {
            await body(self)
            self.unloadTasks[number] = nil
        }
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
            await heads.any(instance)?.stageProgressed(stageIndex, generation: generation, fraction: fraction)
        case .lost(let generation, let error):
            await heads.any(instance)?.stageLost(stageIndex, generation: generation, error: error)
        case .disconnected(let generation, let error):
            await heads.any(instance)?.dataLinkLost(after: stageIndex, generation: generation, error: error)
        }
    }

    /// A notice of another node, about a stage that it holds.
    private func tellHead(
        _ notice: StageNotice, _ instance: InstanceID, stageIndex: Int, from link: ControlLink
    ) async {
        guard let stages = heads.any(instance)?.order.stages, stages.indices.contains(stageIndex),
            stages[stageIndex].node == link.peer.nodeID
        else { return }
        await tellHead(notice, instance, stageIndex: stageIndex)
    }

    // MARK: Answers for other nodes

    /// A request whose client is at another node.
    private func generate(
        _ request: GenerationRequest, on instance: InstanceID, for link: ControlLink?
    ) async throws(ShoalError) {
        guard let head = heads[instance], let link else {
            throw ShoalError(.notFound, "node \(configuration.name) heads no instance \(instance)")
        }
        let key = ObjectIdentifier(link)
        guard peers.contains(link) else { throw ShoalError(.linkLost, "the link to the reader was lost") }
        // It comes again over another link: the end of the old one must not cancel it.
        if request.answerSoFar != nil {
            for other in requestsByLink.keys where other != key { requestsByLink[other]?[request.id] = nil }
        }
        guard requestsByLink[key]?[request.id] == nil else {
            throw ShoalError(.invalidRequest, "request \(request.id) runs already")
        }
        requestsByLink[key, default: [:]][request.id] = instance
        do throws(ShoalError) {
            try await head.submit(request) { [self] event in
                send(.generation(request.id, event), over: link)
                if event.isTerminal { inbox.post(.requestEnded(request.id, link)) }
            }
        } catch {
            requestEnded(request.id, link)
            throw error
        }
    }

    private func requestEnded(_ request: RequestID, _ link: ControlLink) {
        let key = ObjectIdentifier(link)
        requestsByLink[key]?[request] = nil
        if requestsByLink[key]?.isEmpty == true { requestsByLink[key] = nil }
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
        case .headEnded(let instance): headEnded(instance)
        case .orphanCheck(let head, let instances): await freeOrphans(of: head, among: instances)
        case .requestEnded(let request, let link): requestEnded(request, link)
        case .memberChanged(let event): await memberChanged(event)
        case .nodeReturned(let node): for head in heads.all { await head.nodeReturned(node) }
        }
    }

    private func handle(_ event: ControlEvent, from link: ControlLink) async {
        switch event {
        case .node(let announcement):
            heard(announcement, from: link)
        case .members(let records): await learn(records)
        case .instances(let reports):
            // Of a node that was lost meanwhile nothing would ever remove them.
            guard peers.contains(link) else { return }
            let own = reports.filter { $0.head == link.peer.nodeID }
            announced[link.peer.nodeID] = Array(own.prefix(Limits.instanceCountMax))
        case .peers(let known): heard(known, from: link)
        case .reach(let rows): heard(rows, from: link.peer.nodeID)
        case .stageProgress(let instance, let generation, let stageIndex, let fraction):
            let notice = StageNotice.progress(generation: generation, fraction: fraction)
            await tellHead(notice, instance, stageIndex: stageIndex, from: link)
        case .stageLost(let instance, let generation, let stageIndex, let error):
            await tellHead(.lost(generation: generation, error), instance, stageIndex: stageIndex, from: link)
        case .stageDisconnected(let instance, let generation, let stageIndex, let error):
            await tellHead(.disconnected(generation: generation, error), instance, stageIndex: stageIndex, from: link)
        case .generation, .consumed, .cancel: break  // Handled on the data loop, in order.
        case .cluster, .heads, .desired: break  // The keeper's.
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
        case .disconnected(let generation, let error):
            .stageDisconnected(instance, generation: generation, stageIndex: stageIndex, error)
        }
    }
}
