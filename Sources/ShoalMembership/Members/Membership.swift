package import ShoalCore

/// Who is in the cluster and who answers, as one node believes it: a value that is told what happened and when, and
/// returns what to send. It owns no socket and no clock; its owner calls `tick` every `tickInterval`.
///
/// Papers: Das, Gupta and Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership
/// Protocol", DSN 2002 (ping, indirect ping, suspicion, piggybacked gossip); Dadgar, Phillips and Currey, "Lifeguard:
/// Local Health Awareness for More Accurate Failure Detection", 2018 (arXiv:1707.00788).
///
/// Deviations, each with its reason:
/// - Whom to ask is a ring, not a shuffled list: each node asks its next `watchedCount` neighbours by id, and one at
///   random. A shuffled list bounds the delay by the size of the cluster; a ring bounds it by one interval. Rings
///   of monitors: Suresh et al., "Stable and Consistent Membership at Scale with Rapid", USENIX ATC 2018.
/// - News travels at once, `gossipFanout` messages a tick while there is some, besides riding on pings: a killed node
///   has to be known in 1 s, which is the length of one interval.
/// - A closed connection is evidence that SWIM does not have. It makes a suspect with a short deadline.
/// - A returning node may come back from `dead` with a higher incarnation (see `Rumor`).
/// - Of Lifeguard, a late own tick moves every deadline (a cheap form of IV.A, local health: the node that slept is the
///   one that is unwell), and a suspect is always told of the suspicion by whoever talks to it (IV.C, buddy system).
///   Dynamic suspicion timeouts (IV.B) are left out: the clusters are small and 8 s is promised.
/// - A node that is held dead accuses nobody: it first has to object to its own death. Otherwise a node that can send
///   but not hear would accuse the whole cluster, over and over.
/// - A death heard of makes a suspect with a short deadline first, as memberlist does when it merges tables.
/// - Tables are compared by digest on every ping and exchanged when they differ, so lost news is repaired, and
///   two sides of a healed partition become one without any protocol of their own.
///
/// A row is keyed by node id, so a node that returns, restarts or moves has one row. Dead rows are tombstones for
/// `tombstoneLifetime`. A row that old news brings back after that is asked like any other, and is dead again in 8 s.
package struct Membership: Sendable {
    package let configuration: MembershipConfiguration
    /// This node as it tells of itself.
    package internal(set) var source: Rumor
    /// Everybody else.
    var rows: [NodeID: Member] = [:]
    /// Rows that are not dead, by id: the ring. Arrays, not sets: their order must not depend on hashing.
    var ring: [NodeID] = []
    var suspects: [NodeID] = []
    /// Dead rows, the oldest first.
    var tombstones: [NodeID] = []
    var probes: [Probe] = []
    var relayedProbes: [RelayedProbe] = []
    var news = NewsQueue()
    /// Ticks that gossip even without news, for what rides on the messages.
    var spreadTickCount = 0
    var tableDigest: UInt64 = 0
    var nextNumber: UInt64 = 1
    var lastTick: Duration
    var nextProbeRound: Duration
    var nextDeadProbe: Duration
    var nextSync: Duration
    var generator: SplitMixGenerator

    /// A ping that waits for its answer.
    struct Probe: Hashable, Sendable {
        let target: NodeID
        let number: UInt64
        var startedAt: Duration
        var isIndirect = false
    }

    /// A ping sent for another member.
    struct RelayedProbe: Hashable, Sendable {
        let target: NodeID
        let number: UInt64
        let origin: NodeID
        let originNumber: UInt64
        let deadline: Duration
    }

    /// `life` is random for each start of the process and seeds the choices. `incarnation` may be remembered from the
    /// last life, and need not be: a lower one is raised by the first member that is met.
    package init(
        node: NodeID, life: UInt64, incarnation: UInt64 = 1,
        configuration: MembershipConfiguration = MembershipConfiguration(), now: Duration
    ) {
        precondition(configuration.directTimeout < configuration.probeTimeout, "the indirect way needs time")
        self.configuration = configuration
        source = Rumor(node: node, life: life, incarnation: incarnation, state: .alive)
        generator = SplitMixGenerator(seed: life)
        lastTick = now
        // Nodes that start together must not ask together.
        let phase = Int64.random(in: 0..<1000, using: &generator)
        nextProbeRound = now + configuration.probeInterval * Int(phase) / 1000
        nextDeadProbe = now
        nextSync = now
        tableDigest = Membership.contribution(of: source)
    }

    package var node: NodeID { source.node }
    package var life: UInt64 { source.life }

    /// The row of `node`, dead or not. Nil for this node itself.
    package func member(_ node: NodeID) -> Member? { rows[node] }

    /// Alive for this node itself; nil for an unknown node.
    package func state(of node: NodeID) -> MemberState? { node == source.node ? .alive : rows[node]?.state }

    /// All rows by id, dead ones included.
    package var members: [Member] { rows.values.sorted { $0.node < $1.node } }

    /// Members that are alive, this one included.
    package var aliveCount: Int { ring.count - suspects.count + 1 }

    /// Ids of the others that are not dead, in order.
    package var present: [NodeID] { ring }

    /// Equal for two nodes that agree about everybody who is not dead.
    package var digest: UInt64 { tableDigest }

    /// How many alive members come before this one in the order of ids.
    package var aliveRank: Int { ring.prefix { $0 < source.node }.count { rows[$0]?.state == .alive } }

    /// A link to `peer` was authenticated: it may be unknown, or back.
    package mutating func connected(to peer: NodeID, now: Duration) -> [MembershipAction] {
        guard peer != node else { return [] }
        return [ping(peer, number: takeNumber())]
    }

    /// The last connection to `peer` ended, and not by our will. A process that dies closes its connections; a stall
    /// does not. Call it once per peer, after a failed attempt to connect again only if that takes less than 100 ms.
    package mutating func connectionClosed(to peer: NodeID, now: Duration) -> [MembershipAction] {
        guard let row = rows[peer], row.state != .dead else { return [] }
        var actions: [MembershipAction] = []
        if row.state == .alive { actions = suspect(peer, now: now) }
        rows[peer]?.deathDeadline = min(now + configuration.closedTimeout, row.deathDeadline ?? .seconds(1 << 40))
        probes.removeAll { $0.target == peer }
        actions += beginProbe(of: peer, now: now)
        actions += askOthers(probeIndex: probes.count - 1)
        return actions
    }

    /// Whatever is due. Late calls are understood as sleep of this node.
    package mutating func tick(now: Duration) -> [MembershipAction] {
        forgiveStall(now: now)
        lastTick = now
        var actions = advanceProbes(now: now)
        actions += burySuspects(now: now)
        if now >= nextProbeRound {
            nextProbeRound = now + configuration.probeInterval
            actions += probeRound(now: now)
        }
        expireTombstones(now: now)
        return actions + gossip()
    }

    /// Gossips for a while even without news: something that rides on the messages has changed.
    package mutating func spread() { spreadTickCount = max(1, tellCount / configuration.gossipFanout) }

    /// Leaves politely: the others need no timeout. Send the actions, then stop.
    package mutating func leave() -> [MembershipAction] {
        let farewell = Rumor(node: node, life: life, incarnation: source.incarnation, state: .dead)
        return ring.map { .send(message(.gossip, rumors: [farewell]), to: $0) }
    }

    /// This node slept: nobody else is to blame for the silence.
    private mutating func forgiveStall(now: Duration) {
        let lateness = now - lastTick - configuration.tickInterval
        guard lateness > configuration.stallThreshold else { return }
        for index in probes.indices { probes[index].startedAt += lateness }
        for node in suspects {
            guard let deadline = rows[node]?.deathDeadline else { continue }
            rows[node]?.deathDeadline = deadline + lateness
        }
    }

    private mutating func burySuspects(now: Duration) -> [MembershipAction] {
        let due = suspects.filter { (rows[$0]?.deathDeadline ?? .zero) <= now }
        return due.flatMap { node -> [MembershipAction] in
            guard var rumor = rows[node]?.rumor else { return [] }
            rumor.state = .dead
            return record(rumor, isTold: true, now: now)
        }
    }

    private mutating func expireTombstones(now: Duration) {
        while let oldest = tombstones.first, let row = rows[oldest] {
            guard now - row.since >= configuration.tombstoneLifetime else { return }
            tombstones.removeFirst()
            rows[oldest] = nil
        }
    }
}
