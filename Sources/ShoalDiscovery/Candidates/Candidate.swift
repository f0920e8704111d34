package import ShoalCore
package import ShoalLinks

/// Who told about an address. Higher ones are kept longer and tried sooner.
package enum CandidateSource: Int, Sendable, Codable, Comparable, CaseIterable {
    /// A beacon heard on the network.
    case beacon
    /// A member told it over an authenticated link.
    case gossip
    /// It worked before this start.
    case remembered
    /// In the invite that this node joined with.
    case invite
    /// Configured by a person.
    case configured

    package static func < (left: CandidateSource, right: CandidateSource) -> Bool { left.rawValue < right.rawValue }
}

/// An address where a node of this cluster may accept links. Being one grants nothing.
package struct Candidate: Hashable, Sendable {
    package let address: LinkAddress
    /// Nil until somebody said, or a dial has shown, who is there.
    package internal(set) var node: NodeID?
    package internal(set) var source: CandidateSource
    /// When it was last heard of.
    package internal(set) var seenAt: Duration
    /// Failed dials in a row.
    package internal(set) var failureCount = 0
    /// Why the last dial failed, in one sentence.
    package internal(set) var problem: String?
    var dialAt: Duration
    var isDialling = false
    /// Of the beacon; nil when no beacon told.
    package internal(set) var protocolNumber: UInt8?

    init(address: LinkAddress, node: NodeID?, source: CandidateSource, seenAt: Duration, dialAt: Duration) {
        self.address = address
        self.node = node
        self.source = source
        self.seenAt = seenAt
        self.dialAt = dialAt
    }
}

/// How a dial that discovery asked for ended.
package enum DialOutcome: Hashable, Sendable {
    /// An authenticated link to this node exists.
    case linked(NodeID)
    /// The address is this node's own.
    case isSelf
    /// A member of no cluster of ours: not dialled again until something new is heard of it.
    case stranger(String)
    /// Anything else, with the reason.
    case failed(String)
}
