package import ShoalCore

/// What should run, what is reported to run, and what brings them together: a value.
///
/// Every member holds one as a copy (`merge`); only the leader calls `beginReign`, `receive` and `reconcile`. Commands
/// follow from the difference between desired and observed alone and are repeated until a report shows them done, so a
/// lost one costs one round, and a new leader goes on where the old one stopped. Instances that run are adopted.
///
/// A wanted slot without an instance gets a plan, then a start. When its instance fails because a node was lost, a new
/// plan is made with the nodes that are left; while none fits, the slot waits and says why. Failures that a plan cannot
/// heal, and too many in a row, end it until the user asks again.
package struct DesiredState: Sendable {
    package struct Configuration: Hashable, Sendable {
        /// How long a leader waits for the first report of a member that joined, or that was there when it took the
        /// lead, before it decides anything. Longer avoids starting what already runs somewhere slow to report; shorter
        /// brings lost instances back sooner.
        package var reportGrace = Duration.seconds(2)
        /// How long a head may be dead before its instances count as lost: a link that breaks and is made again looks
        /// like a death for a moment.
        package var lostHeadGrace = Duration.seconds(1)
        /// The pause after an instance failed; doubles with each further one.
        package var retryDelayMin = Duration.milliseconds(500)
        package var retryDelayMax = Duration.seconds(30)
        /// Instances of a slot that may fail in a row.
        package var failureCountMax = 5
        /// How long a slot for which no plan fits waits before it is planned again, if no node comes or changes.
        package var replanInterval = Duration.seconds(5)
        /// The least time between two plans of a waiting slot, however often nodes change.
        package var replanIntervalMin = Duration.seconds(1)
        /// Slots, those no longer wanted included. The oldest of these are dropped first.
        package var slotCountMax = Limits.instanceCountMax * 2
        /// Instances that one report may name.
        package var reportedInstanceCountMax = Limits.instanceCountMax
        /// Instances that were stopped, remembered so that a report from before is not believed.
        package var stoppedInstanceCountMax = Limits.instanceCountMax

        package init() {}
    }

    package let configuration: Configuration
    var entries: [SlotID: DesiredInstance] = [:]
    private var reports: [NodeID: HeadReport] = [:]
    var efforts: [SlotID: SlotEffort] = [:]
    /// Oldest first.
    private var stopped: [InstanceID] = []
    var reign: Term?
    private var reignBegan = Duration.zero
    private var revision: UInt64 = 0
    private var ticketCount: UInt64 = 0

    package init(configuration: Configuration = Configuration()) { self.configuration = configuration }

    /// Every slot by id, those no longer wanted included.
    package var desired: [DesiredInstance] { entries.values.sorted { $0.slot < $1.slot } }

    /// Who runs what, as reported in this reign.
    package var observed: [(head: NodeID, instance: ObservedInstance)] {
        reports.values.sorted { $0.node < $1.node }.flatMap { report in
            report.instances.filter { !stopped.contains($0.id) }.map { (report.node, $0) }
        }
    }

    /// Takes over a copy: of two versions of a slot the higher one remains, whatever the order of arrival.
    package mutating func merge(_ copies: [DesiredInstance]) {
        for copy in copies.prefix(configuration.slotCountMax) {
            if let known = entries[copy.slot], known.version >= copy.version { continue }
            guard entries[copy.slot] != nil || makeRoom() else { continue }
            entries[copy.slot] = copy
            efforts[copy.slot] = nil
        }
    }

    /// This node leads now. What others reported to earlier leaders is asked for again.
    package mutating func beginReign(_ term: Term, now: Duration) {
        forgetReign()
        reign = term
        reignBegan = now
        revision = 0
    }

    /// Another node leads.
    package mutating func endReign() { forgetReign() }

    private mutating func forgetReign() {
        reign = nil
        reports = [:]
        efforts = [:]
        stopped = []
    }

    /// The user wants `wish` in its slot, or wants it no longer; earlier attempts are forgotten. Throws `overloaded`
    /// when there are too many slots, `unavailable` when this node does not lead.
    package mutating func set(_ wish: ModelWish, isWanted: Bool) throws(ShoalError) {
        let reign = try requireReign()
        guard entries[wish.slot] != nil || makeRoom() else {
            throw ShoalError(
                .overloaded, "\(wish.model): \(entries.count) models are loaded or waiting; unload one first")
        }
        entries[wish.slot] = DesiredInstance(wish: wish, isWanted: isWanted, version: nextVersion(in: reign))
        var effort = SlotEffort()
        // What failed before does not count against the new wish.
        effort.countedFailures = observed.map(\.instance).filter { $0.slot == wish.slot }.map(\.id)
        efforts[wish.slot] = isWanted ? effort : nil
    }

    private func requireReign() throws(ShoalError) -> Term {
        guard let reign else { throw ShoalError(.staleTerm, "this node does not lead; ask the leader") }
        return reign
    }

    /// An instance was stopped by command: reports from before do not bring it back.
    package mutating func noteStopped(_ instance: InstanceID) {
        guard !stopped.contains(instance) else { return }
        if stopped.count >= configuration.stoppedInstanceCountMax { stopped.removeFirst() }
        stopped.append(instance)
    }

    /// A report to this leader. Reports to others, overtaken ones and oversized ones are dropped.
    package mutating func receive(_ report: HeadReport) {
        guard report.term == reign, report.instances.count <= configuration.reportedInstanceCountMax else { return }
        if let known = reports[report.node], known.life == report.life, known.number >= report.number { return }
        reports[report.node] = report
        merge(report.desired)
    }

    /// What the leader does now; nothing for others.
    package mutating func reconcile(membership: Membership, now: Duration) -> [DesiredAction] {
        guard let reign else { return [] }
        reports = reports.filter { isRunning($0.value.life, of: $0.key, membership: membership, now: now) }
        guard isInformed(membership, now: now) else { return [] }
        let observed = observed
        let owners = owningInstances(observed)
        welcomeUnknown(owners, reign: reign)
        var actions: [DesiredAction] = []
        for entry in desired {
            let found = owners[entry.slot] ?? []
            actions += settle(entry, owners: found, reign: reign).map { .command($0) }
            guard entry.isWanted else { continue }
            let failed = observed.filter { $0.instance.slot == entry.slot && $0.instance.phase == .failed }
            if found.isEmpty { note(failed, of: entry.slot, now: now) }
            if efforts[entry.slot]?.hasGivenUp != true {
                actions += failed.map { .command(command(.remove, $0, reign: reign)) }
            }
            if found.isEmpty { actions += start(entry, membership: membership, now: now).map { [$0] } ?? [] }
        }
        return actions
    }

    typealias Owner = (head: NodeID, instance: ObservedInstance)

    /// Whether `node` is not dead, or was a moment ago, and is still in the life `life`: what it reported still runs.
    private func isRunning(_ life: UInt64, of node: NodeID, membership: Membership, now: Duration) -> Bool {
        if node == membership.node { return life == membership.life }
        guard let member = membership.member(node), member.rumor.life == life else { return false }
        return member.state != .dead || now - member.since < configuration.lostHeadGrace
    }

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
    private func owningInstances(_ observed: [Owner]) -> [SlotID: [Owner]] {
        let owning = observed.filter { $0.instance.ownsSlot }
        return Dictionary(grouping: owning) { $0.instance.slot }.mapValues { owners in
            owners.sorted { left, right in
                let (first, second) = (left.instance, right.instance)
                guard first.phase.isServing == second.phase.isServing else { return first.phase.isServing }
                return (first.startedUnder, first.id) < (second.startedUnder, second.id)
            }
        }
    }

    /// The instance that holds a slot, if one does.
    package func owner(of slot: SlotID) -> (head: NodeID, instance: ObservedInstance)? {
        owningInstances(observed)[slot]?.first
    }

    /// An instance of a slot nobody knows: its leader is gone and told nobody. It runs, so it is wanted.
    private mutating func welcomeUnknown(_ owners: [SlotID: [Owner]], reign: Term) {
        for slot in owners.keys.sorted() where entries[slot] == nil {
            guard let first = owners[slot]?.first, makeRoom() else { continue }
            entries[slot] = DesiredInstance(
                wish: first.instance.wish, isWanted: true, version: nextVersion(in: reign))
        }
    }

    /// Keeps one instance of a wanted slot, and drains the others.
    private mutating func settle(_ entry: DesiredInstance, owners: [Owner], reign: Term) -> [InstanceCommand] {
        let kept = entry.isWanted ? owners.prefix(1) : []
        if !entry.isWanted { efforts[entry.slot] = nil }
        if let owner = kept.first {
            efforts[entry.slot, default: SlotEffort()].start = nil
            efforts[entry.slot]?.ticket = nil
            efforts[entry.slot]?.owner = owner.instance.id
            if owner.instance.phase.isServing { efforts[entry.slot]?.succeeded() }
        }
        let adopted = kept.filter { $0.instance.ownedUnder != reign }
        return adopted.map { command(.adopt, $0, reign: reign) }
            + owners.dropFirst(kept.count).map { command(.drain, $0, reign: reign) }
    }

    private func command(_ verb: InstanceCommand.Verb, _ owner: Owner, reign: Term) -> InstanceCommand {
        InstanceCommand(
            verb: verb, term: reign, head: owner.head, instance: owner.instance.id, wish: owner.instance.wish)
    }

    /// A plan for `entry`, or its start again until its head reports it; nil while there is nothing to do.
    private mutating func start(
        _ entry: DesiredInstance, membership: Membership, now: Duration
    ) -> DesiredAction? {
        var effort = efforts[entry.slot] ?? SlotEffort()
        defer { efforts[entry.slot] = effort }
        noteLostOwner(&effort, now: now)
        if let start = effort.start {
            if let state = membership.state(of: start.head), state != .dead { return .command(start) }
            let lost = ShoalError(.linkLost, "node \(start.head) was lost before it had started the instance")
            effort.failed(lost, instance: nil, configuration: configuration, now: now)
        }
        guard !effort.hasGivenUp, effort.ticket == nil, now >= effort.notBefore else { return nil }
        ticketCount += 1
        effort.ticket = ticketCount
        return .plan(PlanTicket(number: ticketCount, wish: entry.wish))
    }

    /// The instance that held the slot is gone without a word: its head is lost.
    private func noteLostOwner(_ effort: inout SlotEffort, now: Duration) {
        guard let owner = effort.owner else { return }
        effort.owner = nil
        guard !effort.countedFailures.contains(owner) else { return }
        effort.reason = ShoalError(.linkLost, "the head of instance \(owner) was lost")
    }

    /// Failed instances of a slot that nothing holds.
    private mutating func note(_ failed: [Owner], of slot: SlotID, now: Duration) {
        for owner in failed {
            let problem = owner.instance.problem ?? ShoalError(.internal, "the instance failed without a reason")
            efforts[slot, default: SlotEffort()].failed(
                problem, instance: owner.instance.id, configuration: configuration, now: now)
        }
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
        efforts[unwanted.slot] = nil
        return true
    }
}
