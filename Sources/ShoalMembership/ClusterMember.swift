package import ShoalCore

/// One control message between members: who is there, and who leads.
package struct ClusterMessage: Hashable, Sendable, Codable {
    package var membership: MembershipMessage
    /// The term that the sender follows.
    package var announcement: TermAnnouncement?

    package init(membership: MembershipMessage, announcement: TermAnnouncement?) {
        self.membership = membership
        self.announcement = announcement
    }
}

/// What the owner of a `ClusterMember` does next, in this order.
package enum ClusterMemberAction: Hashable, Sendable {
    case send(ClusterMessage, to: NodeID)
    case memberChanged(MembershipEvent)
    case leaderChanged(ElectionEvent)
}

/// Membership and election of one node, so that terms ride on the messages of the membership.
package struct ClusterMember: Sendable {
    package private(set) var membership: Membership
    package private(set) var election: Election

    /// See `Membership.init`.
    package init(
        node: NodeID, life: UInt64, membership: MembershipConfiguration = MembershipConfiguration(),
        election: ElectionConfiguration = ElectionConfiguration(), now: Duration
    ) {
        self.membership = Membership(node: node, life: life, configuration: membership, now: now)
        self.election = Election(node: node, life: life, configuration: election, now: now)
    }

    package var node: NodeID { membership.node }
    package var term: Term? { election.term }
    package var isLeading: Bool { election.isLeading }

    /// See `Membership.connected`.
    package mutating func connected(to peer: NodeID, now: Duration) -> [ClusterMemberAction] {
        wrapped(membership.connected(to: peer, now: now))
    }

    /// See `Membership.connectionClosed`.
    package mutating func connectionClosed(to peer: NodeID, now: Duration) -> [ClusterMemberAction] {
        wrapped(membership.connectionClosed(to: peer, now: now))
    }

    /// A message of `sender`, as the link authenticated it.
    package mutating func receive(
        _ message: ClusterMessage, from sender: NodeID, now: Duration
    ) -> [ClusterMemberAction] {
        let actions = membership.receive(message.membership, from: sender, now: now)
        var events: [ElectionEvent] = []
        if let announcement = message.announcement {
            events = election.observe(announcement, from: sender, membership: membership, now: now)
        }
        return told(events) + wrapped(actions)
    }

    /// Call every `MembershipConfiguration.tickInterval`.
    package mutating func tick(now: Duration) -> [ClusterMemberAction] {
        let events = election.tick(membership: membership, now: now)
        let actions = told(events)
        return actions + wrapped(membership.tick(now: now))
    }

    /// See `Election.admit`.
    package mutating func admit(_ term: Term, from sender: NodeID) throws(ShoalError) {
        let before = election.term
        try election.admit(term, from: sender)
        if election.term != before { membership.spread() }
    }

    /// See `Membership.forget`.
    package mutating func forget(_ node: NodeID) { membership.forget(node) }

    /// See `Membership.leave`.
    package mutating func leave() -> [ClusterMemberAction] { wrapped(membership.leave()) }

    private mutating func told(_ events: [ElectionEvent]) -> [ClusterMemberAction] {
        if !events.isEmpty { membership.spread() }
        return events.map { .leaderChanged($0) }
    }

    private func wrapped(_ actions: [MembershipAction]) -> [ClusterMemberAction] {
        actions.map { action in
            switch action {
            case .send(let message, let peer):
                .send(ClusterMessage(membership: message, announcement: election.accepted), to: peer)
            case .changed(let event): .memberChanged(event)
            }
        }
    }
}
