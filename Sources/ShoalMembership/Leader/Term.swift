package import ShoalCore

/// One reign of one leader: the number every command carries.
///
/// A term names its leader and the life of its process, so two claimants never make the same term, whatever they
/// missed and whatever they forgot: "at most one leader per term" holds by construction, without votes. Order is by
/// counter, then node, then life.
package struct Term: Hashable, Sendable, Codable, Comparable, CustomStringConvertible {
    /// One more than that of the highest term the claimant had heard of.
    package let counter: UInt64
    package let leader: NodeID
    /// `Membership.life` of the leader when it claimed. A restarted leader leads nothing until it claims again.
    package let life: UInt64

    package init(counter: UInt64, leader: NodeID, life: UInt64) {
        self.counter = counter
        self.leader = leader
        self.life = life
    }

    package static func < (left: Term, right: Term) -> Bool {
        (left.counter, left.leader, left.life) < (right.counter, right.leader, right.life)
    }

    package var description: String { "\(counter)@\(leader)" }
}

/// A term as it is told from node to node, on every message of the membership.
package struct TermAnnouncement: Hashable, Sendable, Codable {
    package var term: Term
    /// Members that the leader has seen alive for a while, itself included. Decides which of two leaders yields after a
    /// partition; a wrong number can cost a change of leader, never a double one.
    package var support: Int

    package init(term: Term, support: Int) {
        self.term = term
        self.support = support
    }
}

/// What changed about the leader.
package enum ElectionEvent: Hashable, Sendable {
    /// This node leads from now on, under this term.
    case tookLead(Term)
    /// Another node leads.
    case follows(Term)
}

/// How fast a leader is replaced.
package struct ElectionConfiguration: Hashable, Sendable {
    /// A node that just started waits this long for the news that there is a leader; zero for one that knows to be
    /// alone. Longer avoids a claim that is given up at once; shorter serves sooner.
    package var startDelay = Duration.milliseconds(300)
    /// How long a leader has to be suspect, dead or unknown. Longer spares a change when it objects.
    package var claimDelay = Duration.milliseconds(1000)
    /// Each further candidate waits this much longer, so that normally one claims.
    package var rankDelay = Duration.milliseconds(500)
    /// A leader with more members takes the lead back from a claimant with fewer, but not again in this time.
    package var contestInterval = Duration.seconds(10)
    /// A member counts as support when it has been alive this long without a break. Longer than a merge takes; shorter
    /// lets a new cluster defend its leader sooner.
    package var supportAge = Duration.seconds(10)
    /// A tick this much late means that this node slept: what it believes of the leader is old.
    package var stallThreshold = Duration.milliseconds(500)
    /// No cluster elects this often; a larger counter would leave no room to claim.
    package var counterMax: UInt64 = 1 << 53

    package init() {}
}
