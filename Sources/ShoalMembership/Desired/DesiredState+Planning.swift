package import ShoalCore

/// What the leader's plans lead to.
extension DesiredState {
    /// A plan for a ticket: `instance` is to be started by `head`. False when it is not needed any more.
    package mutating func planned(_ ticket: PlanTicket, instance: InstanceID, head: NodeID) -> Bool {
        guard efforts[ticket.wish.slot]?.ticket == ticket.number else { return false }
        return begin(ticket.wish, instance: instance, head: head)
    }

    /// No plan: the slot waits.
    package mutating func planFailed(_ ticket: PlanTicket, _ error: ShoalError, now: Duration) {
        guard efforts[ticket.wish.slot]?.ticket == ticket.number else { return }
        efforts[ticket.wish.slot]?.ticket = nil
        efforts[ticket.wish.slot]?.reason = error
        efforts[ticket.wish.slot]?.isWaitingForNodes = true
        efforts[ticket.wish.slot]?.notBefore = now + configuration.replanInterval
        efforts[ticket.wish.slot]?.notPlannedBefore = now + configuration.replanIntervalMin
    }

    /// Starts what was planned already. False if this node does not lead, or the wish is not the slot's.
    @discardableResult
    package mutating func begin(_ wish: ModelWish, instance: InstanceID, head: NodeID) -> Bool {
        guard let reign, entries[wish.slot]?.wish == wish, entries[wish.slot]?.isWanted == true else { return false }
        var effort = efforts[wish.slot] ?? SlotEffort()
        effort.ticket = nil
        effort.isWaitingForNodes = false
        effort.start = InstanceCommand(verb: .start, term: reign, head: head, instance: instance, wish: wish)
        efforts[wish.slot] = effort
        return true
    }

    /// The head refused the start.
    package mutating func startFailed(_ command: InstanceCommand, _ error: ShoalError, now: Duration) {
        guard efforts[command.slot]?.start == command else { return }
        efforts[command.slot]?.failed(error, instance: command.instance, configuration: configuration, now: now)
    }

    /// Nodes have more memory: slots that wait for that are planned at once.
    package mutating func resourcesChanged(now: Duration) {
        for slot in efforts.keys { efforts[slot]?.resourcesChanged(now: now) }
    }

    /// A node came, or came back: what failed for want of one is tried again.
    package mutating func nodeArrived(now: Duration) {
        resourcesChanged(now: now)
        for slot in efforts.keys { efforts[slot]?.nodeArrived(now: now) }
    }

    /// The start under way in a slot.
    package func pendingStart(of slot: SlotID) -> InstanceCommand? { efforts[slot]?.start }

    /// Of every wanted slot, by slot; empty for who does not lead.
    package var statuses: [SlotStatus] {
        guard reign != nil else { return [] }
        return desired.filter(\.isWanted).map(status)
    }

    /// Of a wanted slot; nil for others, and for who does not lead.
    package func status(of slot: SlotID) -> SlotStatus? {
        guard reign != nil, let entry = entries[slot], entry.isWanted else { return nil }
        return status(entry)
    }

    private func status(_ entry: DesiredInstance) -> SlotStatus {
        let effort = efforts[entry.slot] ?? SlotEffort()
        let owner = owner(of: entry.slot)
        let state: SlotStatus.State =
            owner != nil ? .running : effort.hasGivenUp ? .failed : effort.isWaitingForNodes ? .waiting : .starting
        return SlotStatus(
            slot: entry.slot, state: state, reason: effort.reason, failureCount: effort.failureCount,
            instance: owner?.instance.id ?? effort.start?.instance)
    }
}
