package import ShoalCore

/// What two members say to each other about who is there. The link authenticates the sender.
package struct MembershipMessage: Hashable, Sendable, Codable {
    package enum Kind: Hashable, Sendable, Codable {
        case ping(number: UInt64)
        /// The answer to the sender's ping with this number.
        case ack(number: UInt64)
        /// Please ping `target` for me; answer with `relayedAck` of the same number if it answers you.
        case pingRequest(number: UInt64, target: NodeID)
        case relayedAck(number: UInt64, target: NodeID)
        /// Nothing but news.
        case gossip
        /// The whole table; answer with yours.
        case sync
        case syncReply
    }

    package var kind: Kind
    /// The sender itself, alive.
    package var source: Rumor
    /// News, the least told first. At most `MembershipConfiguration.rumorsPerMessageMax`; a whole table in a sync.
    package var rumors: [Rumor]
    /// Of the sender's table without its dead rows: equal tables have equal digests.
    package var digest: UInt64

    package init(kind: Kind, source: Rumor, rumors: [Rumor], digest: UInt64) {
        self.kind = kind
        self.source = source
        self.rumors = rumors
        self.digest = digest
    }
}

/// What the owner of a `Membership` does next.
package enum MembershipAction: Hashable, Sendable {
    case send(MembershipMessage, to: NodeID)
    case changed(MembershipEvent)
}
