package import ShoalCore

/// What a node believes of another one.
package enum MemberState: UInt8, Hashable, Sendable, Codable, Comparable, CaseIterable {
    /// It answers, or nobody has complained yet.
    case alive
    /// It did not answer; it has until the suspicion timeout to object. Enough to start recovery where work is stuck.
    case suspect
    /// It did not object. Kept as a tombstone for a while, so that old news cannot bring it back.
    case dead

    package static func < (left: MemberState, right: MemberState) -> Bool { left.rawValue < right.rawValue }
}

/// One member in one life, as told from node to node.
///
/// Order of news about one node: `alive(i) < suspect(i) < dead(i) < alive(i + 1)`. Only the node itself raises its
/// incarnation, so nobody but the node can take an accusation back. (SWIM lets `dead` override every incarnation; here
/// a returning node would then need a new identity, so a higher incarnation wins over a tombstone, as in memberlist.)
package struct Rumor: Hashable, Sendable, Codable {
    package var node: NodeID
    /// Random for each start of the process: tells a restart from a refutation. A life is never compared for order.
    package var life: UInt64
    /// At most `MembershipConfiguration.incarnationMax`; larger ones are ignored.
    package var incarnation: UInt64
    package var state: MemberState

    package init(node: NodeID, life: UInt64, incarnation: UInt64, state: MemberState) {
        self.node = node
        self.life = life
        self.incarnation = incarnation
        self.state = state
    }

    /// Whether this replaces `other`, which is about the same node.
    package func isNewer(than other: Rumor) -> Bool {
        (incarnation, state) > (other.incarnation, other.state)
    }
}

/// One row of the member table.
package struct Member: Hashable, Sendable {
    package internal(set) var rumor: Rumor
    /// When `state` last changed, by this node's clock.
    package internal(set) var since: Duration
    /// When it was last new, or came back from the dead.
    package internal(set) var joinedAt: Duration
    /// When a suspect is declared dead.
    var deathDeadline: Duration?

    package var node: NodeID { rumor.node }
    package var state: MemberState { rumor.state }
}

/// What changed in the member table.
package enum MembershipEvent: Hashable, Sendable {
    /// A row that was not there, or was dead.
    case joined(NodeID)
    case suspected(NodeID)
    /// A suspect objected.
    case recovered(NodeID)
    /// The same node in a new process: whatever it ran is gone.
    case restarted(NodeID)
    case died(NodeID)
}

extension MembershipEvent {
    /// Whom it is about.
    package var node: NodeID {
        switch self {
        case .joined(let node), .suspected(let node), .recovered(let node), .restarted(let node), .died(let node): node
        }
    }

    /// What follows the node's name in a log.
    package var sentence: String {
        switch self {
        case .joined: "is there"
        case .suspected: "does not answer"
        case .recovered: "answers again"
        case .restarted: "was restarted"
        case .died: "is gone"
        }
    }

    /// Whether a node came, or came back.
    package var isArrival: Bool {
        switch self {
        case .joined, .recovered, .restarted: true
        case .suspected, .died: false
        }
    }
}
