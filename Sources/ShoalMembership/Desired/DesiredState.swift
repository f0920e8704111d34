package import ShoalCore

/// What should run, what is reported to run, and the commands that bring them together: a value.
///
/// Every member holds one as a copy (`merge`); only the leader calls `beginReign`, `receive` and `reconcile`. Commands
/// follow from the difference between desired and observed alone and are repeated until a report shows them done, so a
/// lost one costs one round, and a new leader goes on where the old one stopped. Instances that run are adopted.
package struct DesiredState: Sendable {
    package struct Configuration: Hashable, Sendable {
        /// How long a leader waits for the first report of a member that joined, or that was there when it took the
        /// lead, before it decides anything. Longer avoids starting what already runs somewhere slow to report; shorter
        /// brings lost instances back sooner.
        package var reportGrace = Duration.seconds(2)
        /// Slots, those no longer wanted included. The oldest of these are dropped first.
        package var slotCountMax = Limits.instanceCountMax * 2
        /// Instances that one report may name.
        package var reportedInstanceCountMax = Limits.instanceCountMax

        package init() {}
    }

    package let configuration: Configuration
    private var entries: [SlotID: DesiredInstance] = [:]
    private var reports: [NodeID: HeadReport] = [:]
    private var starting: [SlotID: InstanceCommand] = [:]
    private var reign: Term?
    private var reignBegan = Duration.zero
    private var revision: UInt64 = 0
    private var startCount: UInt64 = 0

    package init(configuration: Configuration = Configuration()) { self.configuration = configuration }

    /// Every slot by id, those no longer wanted included.
    package var desired: [DesiredInstance] { entries.values.sorted { $0.slot < $1.slot } }

    /// Who runs what, as reported in this reign.
    package var observed: [(head: NodeID, instance: ObservedInstance)] {
        reports.values.sorted { $0.node < $1.node }.flatMap { report in report.instances.map { (report.node, $0) } }
    }

    /// Takes over a copy: of two versions of a slot the higher one remains, whatever the order of arrival.
    package mutating func merge(_ copies: [DesiredInstance]) {
        for copy in copies.prefix(configuration.slotCountMax) {
            if let known = entries[copy.slot], known.version >= copy.version { continue }
            guard entries[copy.slot] != nil || makeRoom() else { continue }
            entries[copy.slot] = copy
        }
    }

    /// This node leads now. What others reported to earlier leaders is asked for again.
    package mutating func beginReign(_ term: Term, now: Duration) {
        reign = term
        reignBegan = now
        revision = 0
        reports = [:]
        starting = [:]
    }

    /// Another node leads.
    package mutating func endReign() {
        reign = nil
        reports = [:]
        starting = [:]
    }

    /// The user wants `model` in `slot`, or wants it no longer. Throws `overloaded` when there are too many slots,
    /// `unavailable` when this node does not lead.
    package mutating func set(slot: SlotID, model: String, isWanted: Bool) throws(ShoalError) {
        guard let reign else {
            throw ShoalError(.unavailable, "slot \(slot) of \(model): this node does not lead; ask the leader")
        }
        guard entries[slot] != nil || makeRoom() else {
            throw ShoalError(
                .overloaded, "slot \(slot) of \(model): \(entries.count) slots are in use; unload one first")
        }
        entries[slot] = DesiredInstance(
            slot: slot, model: model, isWanted: isWanted, version: nextVersion(in: reign))
    }

    /// A report to this leader. Reports to others, overtaken ones and oversized ones are dropped.
    package mutating func receive(_ report: HeadReport) {
        guard report.term == reign, report.instances.count <= configuration.reportedInstanceCountMax else { return }
        if let known = reports[report.node], known.life == report.life, known.number >= report.number { return }
        reports[report.node] = report
        merge(report.desired)
    }

    /// What the leader commands now; empty for others. `place` names the head of a new instance, nil if no plan fits.
    package mutating func reconcile(
        membership: Membership, now: Duration, place: (DesiredInstance) -> NodeID?
    ) -> [InstanceCommand] {
        guard let reign else { return [] }
        reports = reports.filter { membership.isRunning($0.value.life, of: $0.key) }
        guard isInformed(membership, now: now) else { return [] }
        let owners = owningInstances()
        welcomeUnknown(owners, reign: reign)
        var commands: [InstanceCommand] = []
        for entry in desired {
            commands += settle(entry, owners: owners[entry.slot] ?? [], reign: reign)
            guard entry.isWanted, (owners[entry.slot] ?? []).isEmpty else { continue }
            if let start = start(entry, reign: reign, membership: membership, place: place) { commands.append(start) }
        }
        return commands
    }

    private typealias Owner = (head: NodeID, instance: ObservedInstance)

    private func isInformed(_ membership: Membership, now: Duration) -> Bool {
        guard now - reignBegan >= configuration.reportGrace || reports[membership.node] != nil else { return false }
        return membership.present.allSatisfy { node in
            guard let member = membership.member(node), member.state == .alive, reports[node] == nil else {
                return true
            }
            return now - max(reignBegan, member.joinedAt) >= configuration.reportGrace
        }
    }

    /// Per slot, the one to keep first: one that answers, then the oldest term, then the smallest id. Every leader with
    /// the same reports keeps the same one.
    private func owningInstances() -> [SlotID: [Owner]] {
        let owning = observed.filter { $0.instance.ownsSlot }
        return Dictionary(grouping: owning) { $0.instance.slot }.mapValues { owners in
            owners.sorted { left, right in
                let (first, second) = (left.instance, right.instance)
                guard first.phase.isServing == second.phase.isServing else { return first.phase.isServing }
                return (first.startedUnder, first.id) < (second.startedUnder, second.id)
            }
        }
    }

    /// An instance of a slot nobody knows: its leader is gone and told nobody. It runs, so it is wanted.
    private mutating func welcomeUnknown(_ owners: [SlotID: [Owner]], reign: Term) {
        for slot in owners.keys.sorted() where entries[slot] == nil {
            guard let first = owners[slot]?.first, makeRoom() else { continue }
            entries[slot] = DesiredInstance(
                slot: slot, model: first.instance.model, isWanted: true, version: nextVersion(in: reign))
        }
    }

    /// Keeps one instance of a wanted slot, and drains the others.
    private mutating func settle(_ entry: DesiredInstance, owners: [Owner], reign: Term) -> [InstanceCommand] {
        let kept = entry.isWanted ? owners.prefix(1) : []
        if !kept.isEmpty || !entry.isWanted { starting[entry.slot] = nil }
        let adopted = kept.filter { $0.instance.ownedUnder != reign }
        return adopted.map { command(.adopt, $0, reign: reign) }
            + owners.dropFirst(kept.count).map { command(.drain, $0, reign: reign) }
    }

    private func command(_ verb: InstanceCommand.Verb, _ owner: Owner, reign: Term) -> InstanceCommand {
        InstanceCommand(
            verb: verb, term: reign, head: owner.head, instance: owner.instance.id, slot: owner.instance.slot,
            model: owner.instance.model)
    }

    /// The same command again while its head lives; a new instance elsewhere when it does not.
    private mutating func start(
        _ entry: DesiredInstance, reign: Term, membership: Membership, place: (DesiredInstance) -> NodeID?
    ) -> InstanceCommand? {
        if let pending = starting[entry.slot], isStillPossible(pending, membership: membership) { return pending }
        starting[entry.slot] = nil
        guard let head = place(entry) else { return nil }
        startCount += 1
        let id = InstanceID(rawValue: mixed(reign.life ^ mixed(reign.counter ^ mixed(startCount))))
        let command = InstanceCommand(
            verb: .start, term: reign, head: head, instance: id, slot: entry.slot, model: entry.model)
        starting[entry.slot] = command
        return command
    }

    /// Its head is there, and has not reported that the instance failed or stopped.
    private func isStillPossible(_ start: InstanceCommand, membership: Membership) -> Bool {
        guard let state = membership.state(of: start.head), state != .dead else { return false }
        return reports[start.head]?.instances.allSatisfy { $0.id != start.instance || $0.ownsSlot } ?? true
    }

    private mutating func nextVersion(in reign: Term) -> DesiredVersion {
        revision += 1
        return DesiredVersion(term: reign, revision: revision)
    }

    private mutating func makeRoom() -> Bool {
        guard entries.count >= configuration.slotCountMax else { return true }
        let unwanted = entries.values.filter { !$0.isWanted }.min { $0.version < $1.version }
        guard let unwanted else { return false }
        entries[unwanted.slot] = nil
        return true
    }
}

extension Membership {
    /// Whether `node` is not dead and is still in the life `life`: what it reported then still runs.
    func isRunning(_ life: UInt64, of node: NodeID) -> Bool {
        if node == self.node { return life == self.life }
        return member(node).map { $0.state != .dead && $0.rumor.life == life } ?? false
    }
}
