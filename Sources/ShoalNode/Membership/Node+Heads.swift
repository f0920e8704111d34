import Logging
import ShoalCore
import ShoalMembership

/// On whose behalf an instance runs.
struct HeadOwnership: Sendable {
    var wish: ModelWish
    var startedUnder: Term
    var ownedUnder: Term
    /// When an instance that is being drained is stopped at the latest; nil unless it is.
    var drainDeadline: ContinuousClock.Instant?
}

/// The instances whose head is this node, as the leader commands them.
extension Node {
    /// A command of the leader. Throws `staleTerm` for one of an older term.
    func obey(_ command: ControlRequest, of sender: NodeID) async throws(ShoalError) -> ControlReply {
        switch command {
        case .startInstance(let order, let wish, let term):
            try order.validate()
            try await keeper.admit(term, from: sender)
            return .instance(
                try await startHead(order, HeadOwnership(wish: wish, startedUnder: term, ownedUnder: term)))
        case .stopInstance(let instance, let term):
            try await keeper.admit(term, from: sender)
            try await stopHead(instance)
        case .drainInstance(let instance, let term):
            try await keeper.admit(term, from: sender)
            try await drainHead(instance)
        case .adoptInstance(let instance, let term):
            try await keeper.admit(term, from: sender)
            try adoptHead(instance, term)
        default: throw ShoalError(.internal, "no command of a leader")
        }
        return .done
    }

    private func startHead(_ order: InstanceOrder, _ owner: HeadOwnership) async throws(ShoalError) -> InstanceReport {
        if let head = heads.any(order.id) { return owned(await head.report()) }
        // Another instance of the slot: this node's report has not reached the leader, which will see it.
        if let running = ownReports.values.first(where: { $0.slot == "\(owner.wish.slot)" && $0.phase.isAlive }),
            ownership[running.id]?.drainDeadline == nil
        {
            return running
        }
        try requireRoom(for: order)
        let head: any InstanceHead =
            if let rpc = order.rpc { RPCHead(order: order, rpc: rpc, node: self) } else {
                HeadService(order: order, node: self)
            }
        heads.insert(head, for: order.id)
        ownership[order.id] = owner
        ownReports[order.id] = owned(order.report(headName: configuration.name))
        tellKeeper()
        await head.start()
        return owned(await head.report())
    }

    private func requireRoom(for order: InstanceOrder) throws(ShoalError) {
        guard !isStopping else {
            throw ShoalError(.unavailable, "node \(configuration.name) is shutting down")
        }
        guard !endedInstances.contains(order.id) else {
            throw ShoalError(.cancelled, "instance \(order.id) was stopped before it began")
        }
        guard order.head == id else {
            throw ShoalError(.invalidPlacement, "node \(configuration.name) is not the head of \(order.id)")
        }
        guard heads.all.count < Limits.instanceCountMax else {
            throw ShoalError(
                .overloaded, "node \(configuration.name) heads \(Limits.instanceCountMax) instances already")
        }
    }

    private func stopHead(_ instance: InstanceID) async throws(ShoalError) {
        if !endedInstances.contains(instance) {
            if endedInstances.count >= Limits.instanceCountMax { endedInstances.removeFirst() }
            endedInstances.append(instance)
        }
        guard let head = heads.any(instance) else {
            throw ShoalError(.notFound, "node \(configuration.name) heads no instance \(instance)")
        }
        await head.stop(ShoalError(.unavailable, "the instance was stopped"))
        headEnded(instance)
    }

    /// Another instance serves, or nobody wants this one: what runs may end, for a while.
    private func drainHead(_ instance: InstanceID) async throws(ShoalError) {
        guard let head = heads.any(instance) else {
            throw ShoalError(.notFound, "node \(configuration.name) heads no instance \(instance)")
        }
        guard ownership[instance]?.drainDeadline == nil else { return }
        ownership[instance]?.drainDeadline = .now + configuration.limits.drainDeadline
        await head.drain()
    }

    /// Called regularly: the clocks of the heads, and the end of what has been drained. Waits for no other node.
    func tendHeads() async {
        for head in heads.all { await head.tick() }
        await stopDrained()
    }

    private func stopDrained() async {
        for (instance, owner) in ownership {
            guard let deadline = owner.drainDeadline, let head = heads.any(instance),
                !endedInstances.contains(instance)
            else { continue }
            let report = await head.report()
            let isIdle = report.runningRequestCount + report.queuedRequestCount == 0
            guard isIdle || report.phase != .draining || .now >= deadline else { continue }
            // One that ended meanwhile is as wanted.
            endInBackground { node in try? await node.stopHead(instance) }
        }
    }

    private func adoptHead(_ instance: InstanceID, _ term: Term) throws(ShoalError) {
        guard ownership[instance] != nil else {
            throw ShoalError(.notFound, "node \(configuration.name) heads no instance \(instance)")
        }
        ownership[instance]?.ownedUnder = term
        tellKeeper()
    }

    // MARK: What heads say

    func headChanged(_ report: InstanceReport) {
        guard let old = ownReports[report.id] else { return }
        if report.phase == .ready, old.phase != .ready { judgeLaunch(report) }
        let new = owned(report)
        ownReports[report.id] = new
        guard old.phase != new.phase || old.problem != new.problem else { return }
        tellKeeper()
        broadcast(.instances(Array(ownReports.values)))
    }

    private func judgeLaunch(_ report: InstanceReport) {
        guard let notice = launches.observe(report) else { return }
        launchNotices[report.id] = notice
        logger.warning("\(report.model) was \(notice)", metadata: ["instance.id": "\(report.id)"])
    }

    func headEnded(_ instance: InstanceID) {
        guard heads.any(instance) != nil else { return }
        heads.remove(instance)
        ownReports[instance] = nil
        launchNotices[instance] = nil
        ownership[instance] = nil
        tellKeeper()
        broadcast(.instances(Array(ownReports.values)))
    }

    private func owned(_ report: InstanceReport) -> InstanceReport {
        var report = report
        report.slot = ownership[report.id].map { "\($0.wish.slot)" }
        report.isWanted = ownership[report.id]?.drainDeadline == nil
        report.notice = launchNotices[report.id]
        return report
    }

    /// What the leader has to know of the instances here.
    private func tellKeeper() {
        let observed = ownReports.values.sorted { $0.id < $1.id }.compactMap { report -> ObservedInstance? in
            guard let owner = ownership[report.id] else { return nil }
            var instance = ObservedInstance(
                id: report.id, wish: owner.wish, phase: owner.drainDeadline == nil ? report.phase : .draining,
                startedUnder: owner.startedUnder, ownedUnder: owner.ownedUnder)
            if report.phase == .failed {
                instance.problem = ShoalError(report.problemCode ?? .internal, report.problem ?? "no reason was given")
            }
            return instance
        }
        keeper.inbox.post(.heads(observed))
    }
}
