import ShoalCore
import ShoalMembership

/// What users ask of the leader.
extension ClusterKeeper {
    /// Makes `wish` the slot's and returns when an instance has begun to load, or at once when there is one. A wish
    /// that cannot be planned leaves nothing behind. `asker` has the model's file.
    ///
    /// Throws what the planner and the head say, `staleTerm` if this node does not lead.
    func load(_ wish: ModelWish, for asker: NodeID) async throws(ShoalError) -> InstanceReport {
        _ = try requireLead()
        await waitForEnd(of: wish.slot)
        let term = try requireLead()
        guard !isSlotTaken(wish.slot) else { return try await existing(wish) }
        let order = try await order(for: wish, knownBy: asker)
        guard term == member.term else { throw staleTerm }
        // Somebody else may have asked for the same model meanwhile.
        guard !isSlotTaken(wish.slot) else { return try await existing(wish) }
        guard let head = order.head else { throw ShoalError(.internal, "the plan has no stages") }
        for failed in desired.observed where failed.instance.slot == wish.slot {
            run { await $0.end(failed.instance.id, on: failed.head, term) }
        }
        try desired.set(wish, isWanted: true)
        orders[order.id] = order
        desired.begin(wish, instance: order.id, head: head)
        isReconcileDue = true
        do throws(ShoalError) {
            return try await instance(of: wish.slot, begun: wish)
        } catch {
            if term == member.term, desired.status(of: wish.slot)?.state == .failed, desired.owner(of: wish.slot) == nil
            {
                try desired.set(wish, isWanted: false)
                isReconcileDue = true
            }
            throw error
        }
    }

    /// Ends what runs in the slot on every node and wants nothing there any more. `instance` is one that the asker
    /// knows, with its head. Throws `notFound` if there was nothing, `staleTerm` if this node does not lead.
    func unload(_ slot: SlotID, _ instance: InstanceID, on head: NodeID) async throws(ShoalError) {
        let term = try requireLead()
        var targets: [InstanceID: NodeID] = [:]
        for owner in desired.observed where owner.instance.slot == slot { targets[owner.instance.id] = owner.head }
        if let start = desired.pendingStart(of: slot) { targets[start.instance] = start.head }
        let entry = desired.desired.first { $0.slot == slot && $0.isWanted }
        if let entry { try desired.set(entry.wish, isWanted: false) }
        if instance.rawValue != slot.rawValue { targets[instance] = head }
        isReconcileDue = true
        var stoppedCount = 0
        await withTaskGroup(of: Bool.self) { group in
            for (target, head) in targets { group.addTask { await self.end(target, on: head, term) } }
            for await isStopped in group where isStopped { stoppedCount += 1 }
        }
        guard stoppedCount > 0 || entry != nil else {
            throw ShoalError(.notFound, "there is no instance \(instance) any more")
        }
    }

    /// Whether the head said that it stopped the instance. One that cannot be asked is told again when it is back, for
    /// then it reports an instance that nobody wants.
    @discardableResult
    private func end(_ instance: InstanceID, on head: NodeID, _ term: Term) async -> Bool {
        guard let node else { return false }
        do throws(ShoalError) {
            _ = try await node.ask(head, .stopInstance(instance, term), deadline: limits.textDeadline)
            desired.noteStopped(instance)
            return true
        } catch {
            if error.code == .notFound { desired.noteStopped(instance) }
            return false
        }
    }

    private func requireLead() throws(ShoalError) -> Term {
        guard let term = member.term, member.isLeading, !isStopped else { throw staleTerm }
        return term
    }

    private var staleTerm: ShoalError {
        ShoalError(.staleTerm, "node \(nodeName(id)) does not lead the cluster; ask the leader")
    }

    /// Waits, for a while, until what nobody wants in a slot any more is gone.
    private func waitForEnd(of slot: SlotID) async {
        let deadline = now + limits.wishDeadline
        while now < deadline, !isStopped, desired.status(of: slot) == nil, desired.owner(of: slot) != nil {
            await change()
        }
    }

    /// Whether an instance holds the slot or is being started there; a slot that waits or failed may get another wish.
    private func isSlotTaken(_ slot: SlotID) -> Bool {
        switch desired.status(of: slot)?.state {
        case .starting, .running: true
        case .waiting, .failed, nil: desired.owner(of: slot) != nil
        }
    }

    private func existing(_ wish: ModelWish) async throws(ShoalError) -> InstanceReport {
        let report = try await instance(of: wish.slot, begun: nil)
        let held = desired.desired.first { $0.slot == wish.slot }?.wish.request
        let differences = wish.request.differences(from: report, loadedWith: held)
        guard differences.isEmpty else {
            throw ShoalError(
                .invalidPlacement,
                "\(report.model) is loaded already, with other \(differences.joined(separator: ", ")); stop it first: "
                    + "shoal stop \(report.id)")
        }
        return report
    }

    /// The instance of a slot, once its head has confirmed it. `begun`: throws if the slot gets another wish.
    private func instance(of slot: SlotID, begun: ModelWish?) async throws(ShoalError) -> InstanceReport {
        let deadline = now + limits.wishDeadline
        while now < deadline {
            _ = try requireLead()
            guard let status = desired.status(of: slot) else {
                throw ShoalError(.cancelled, "the model was unloaded while it was being loaded")
            }
            if let owner = desired.owner(of: slot), let report = await report(owner.instance.id, on: owner.head) {
                return report
            }
            if let start = desired.pendingStart(of: slot), let report = startReports[start.instance] { return report }
            if let reason = status.reason, status.state == .failed || status.state == .waiting { throw reason }
            await change()
        }
        throw ShoalError(.timedOut, "no node has begun to load the model within \(limits.wishDeadline)")
    }

    /// As its head says; nil when it cannot be asked or does not know the instance.
    private func report(_ instance: InstanceID, on head: NodeID) async -> InstanceReport? {
        guard let node else { return nil }
        do throws(ShoalError) {
            let reply = try await node.ask(head, .reportInstance(instance), deadline: limits.requestDeadline)
            guard case .instance(let report) = reply, report.phase.isAlive else { return nil }
            return report
        } catch {
            if error.code == .notFound { desired.noteStopped(instance) }
            return nil
        }
    }
}
