package import ShoalCore

/// Who leads, as one node believes it: a value, driven with the membership.
///
/// The rule. A member follows the highest term it has heard of. While that term's leader is alive in the same life,
/// nobody claims. When it has been suspect, dead or unknown for `claimDelay` (`startDelay` if none ever was), the alive
/// member with the smallest id claims a term with the next counter; the k-th smallest waits k times `rankDelay` longer,
/// in case the others cannot. A leader that hears a higher term steps down. One exception: if the claimant has fewer
/// members than this leader still has (a phone that was alone for a minute), the leader claims again, once per
/// `contestInterval`.
///
/// What is guaranteed: a term has one leader (see `Term`); a member's accepted term never goes back in one life; a
/// member refuses commands of older terms, so at each moment it obeys one leader; members that hear each other come
/// to accept the same, highest term.
///
/// What is not: one leader at a time. There is no quorum, on purpose: the usual cluster is two machines, and either of
/// them must go on when the other is switched off; a quorum would need both. So each side of a partition has a leader
/// and may start an instance of the same slot. After the partition heals one leader remains, and `DesiredState` keeps
/// one instance per slot. Desired state is merged by version: of two changes to one slot, made on both sides, the one
/// under the higher term remains. That is the price; the user can see it, and no data is harmed: nothing here is a
/// ledger.
///
/// Answers that run are not touched by any of this: they live in heads and stages, which need no leader to go on.
package struct Election: Sendable {
    package let node: NodeID
    package let life: UInt64
    package let configuration: ElectionConfiguration
    /// The highest term heard of. Only grows.
    package private(set) var accepted: TermAnnouncement?
    private var vacantSince: Duration?
    private var lastTick: Duration
    private var startedAt: Duration
    private var contestAllowedAt: Duration
    /// Members last heard under another term than the accepted one of this leader.
    private var strayed: Set<NodeID> = []

    package init(
        node: NodeID, life: UInt64, configuration: ElectionConfiguration = ElectionConfiguration(), now: Duration
    ) {
        self.node = node
        self.life = life
        self.configuration = configuration
        lastTick = now
        startedAt = now
        contestAllowedAt = now
    }

    package var term: Term? { accepted?.term }

    /// Whether the accepted term is this node's, of this life.
    package var isLeading: Bool { term.map { $0.leader == node && $0.life == life } ?? false }

    /// Claims the lead if it is vacant for long enough. `membership` is this node's own.
    package mutating func tick(membership: Membership, now: Duration) -> [ElectionEvent] {
        let lateness = now - lastTick
        lastTick = now
        if lateness > configuration.stallThreshold {
            vacantSince = vacantSince.map { $0 + lateness }
            startedAt = accepted == nil ? startedAt + lateness : startedAt
        }
        guard !isLeading else {
            let support = support(membership, without: [], now: now)
            accepted?.support = support
            return []
        }
        guard isVacant(membership) else {
            vacantSince = nil
            return []
        }
        let since = vacantSince ?? now
        vacantSince = since
        // Who never heard of a leader has none to wait for.
        let patience = term == nil ? configuration.startDelay : configuration.claimDelay
        let delay = patience + configuration.rankDelay * membership.aliveRank
        guard now - since >= delay, now - startedAt >= configuration.startDelay else { return [] }
        return claim(support: support(membership, without: [], now: now))
    }

    /// A term that `sender` follows.
    package mutating func observe(
        _ announcement: TermAnnouncement, from sender: NodeID, membership: Membership, now: Duration
    ) -> [ElectionEvent] {
        guard announcement.term.counter < configuration.counterMax else { return [] }
        noteTerm(announcement.term, of: sender)
        guard let accepted else { return follow(announcement) }
        if announcement.term == accepted.term, !isLeading {
            self.accepted?.support = max(accepted.support, announcement.support)
        }
        guard announcement.term > accepted.term else { return [] }
        guard contests(announcement, membership: membership, now: now) else { return follow(announcement) }
        contestAllowedAt = now + configuration.contestInterval
        let remaining = support(membership, without: strayed, now: now)
        self.accepted = announcement
        return claim(support: remaining)
    }

    /// Whether a command of `term`, sent by `sender`, is to be obeyed. A higher term than the accepted one is accepted.
    ///
    /// Throws `staleTerm` for an older term, `protocolViolation` if the sender is not the leader of the term.
    package mutating func admit(_ term: Term, from sender: NodeID) throws(ShoalError) {
        guard term.leader == sender else {
            throw ShoalError(
                .protocolViolation, "command from \(sender) under the term \(term), which is not its own; ignore it")
        }
        guard term.counter < configuration.counterMax else {
            throw ShoalError(.protocolViolation, "command under the term \(term), a counter that is out of range")
        }
        if let accepted, term < accepted.term {
            throw ShoalError(
                .staleTerm, "command from \(sender) under the term \(term), but \(accepted.term) leads: follow it")
        }
        if accepted?.term != term { _ = follow(TermAnnouncement(term: term, support: 1)) }
    }

    private func isVacant(_ membership: Membership) -> Bool {
        guard let term else { return true }
        guard term.leader != node else { return term.life != life }
        guard let leader = membership.member(term.leader) else { return true }
        return leader.state != .alive || leader.rumor.life != term.life
    }

    private mutating func claim(support: Int) -> [ElectionEvent] {
        let counter = (term?.counter ?? 0) + 1
        guard counter < configuration.counterMax else { return [] }
        let claimed = Term(counter: counter, leader: node, life: life)
        assert(term.map { $0 < claimed } ?? true, "a claim is higher than what was accepted")
        accepted = TermAnnouncement(term: claimed, support: support)
        vacantSince = nil
        strayed = []
        return [.tookLead(claimed)]
    }

    private mutating func follow(_ announcement: TermAnnouncement) -> [ElectionEvent] {
        accepted = announcement
        vacantSince = nil
        strayed = []
        return [.follows(announcement.term)]
    }

    /// Whether this leader has more members left than the claimant.
    private func contests(_ claim: TermAnnouncement, membership: Membership, now: Duration) -> Bool {
        guard isLeading, now >= contestAllowedAt else { return false }
        return support(membership, without: strayed.union([claim.term.leader]), now: now) > claim.support
    }

    /// This node and the members it kept for a while: right after a partition healed, both leaders see everybody, and
    /// each suspects some of its own because the other side had buried them.
    private func support(_ membership: Membership, without strayed: Set<NodeID>, now: Duration) -> Int {
        1
            + membership.present.count { node in
                guard let member = membership.member(node), !strayed.contains(node) else { return false }
                let isLost = member.state != .alive && now - member.since >= configuration.claimDelay
                return !isLost && now - member.joinedAt >= configuration.supportAge
            }
    }

    /// A leader remembers who follows another: those do not support it. At most one entry per member.
    private mutating func noteTerm(_ term: Term, of sender: NodeID) {
        guard isLeading else { return }
        if term == accepted?.term { strayed.remove(sender) } else { strayed.insert(sender) }
    }
}
