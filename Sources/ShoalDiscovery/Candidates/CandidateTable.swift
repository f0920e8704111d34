import ShoalCore
import ShoalLinks

/// The bounded set of addresses that might lead to a node. Pure.
struct CandidateTable: Sendable {
    private let configuration: DiscoveryConfiguration
    private var byAddress: [LinkAddress: Candidate] = [:]

    init(configuration: DiscoveryConfiguration) { self.configuration = configuration }

    var count: Int { byAddress.count }

    /// In no order.
    var all: Dictionary<LinkAddress, Candidate>.Values { byAddress.values }

    /// Best source first, then by address.
    var sorted: [Candidate] { byAddress.values.sorted(by: Self.isBetter) }

    static func isBetter(_ left: Candidate, _ right: Candidate) -> Bool {
        left.source != right.source
            ? left.source > right.source : left.address.description < right.address.description
    }

    subscript(address: LinkAddress) -> Candidate? { byAddress[address] }

    /// Adds or refreshes an address; a better source replaces a worse one. False when there is no room for it.
    mutating func hear(
        of address: LinkAddress, node: NodeID?, source: CandidateSource, dialAt: Duration, now: Duration
    ) -> Bool {
        if var known = byAddress[address] {
            // A new node at an old address: a machine got another one's address, or was reinstalled.
            if let node, node != known.node {
                known.node = node
                known.failureCount = 0
                known.dialAt = dialAt
            }
            known.source = max(known.source, source)
            known.seenAt = now
            byAddress[address] = known
            return true
        }
        guard makeRoom(for: source, node: node, host: address.host) else { return false }
        byAddress[address] = Candidate(address: address, node: node, source: source, seenAt: now, dialAt: dialAt)
        return true
    }

    mutating func update(_ address: LinkAddress, _ change: (inout Candidate) -> Void) {
        guard var candidate = byAddress[address] else { return }
        change(&candidate)
        byAddress[address] = candidate
    }

    mutating func remove(_ address: LinkAddress) { byAddress[address] = nil }

    mutating func updateAll(of node: NodeID, _ change: (inout Candidate) -> Void) {
        for candidate in byAddress.values where candidate.node == node { update(candidate.address, change) }
    }

    /// Forgets beacons that fell silent.
    mutating func expire(now: Duration, keeping linked: Set<NodeID>) {
        byAddress = byAddress.filter { _, candidate in
            guard candidate.source == .beacon || candidate.source == .gossip, !candidate.isDialling else { return true }
            if let node = candidate.node, linked.contains(node) { return true }
            let lifetime =
                candidate.source == .beacon ? configuration.beaconLifetime : configuration.gossipLifetime
            return now - candidate.seenAt < lifetime
        }
    }

    /// Room within each of the three bounds, by dropping the longest unheard of the least trusted if need be.
    private mutating func makeRoom(for source: CandidateSource, node: NodeID?, host: String) -> Bool {
        makeRoom(for: source, in: { $0.address.host == host }, limit: configuration.candidatesPerHostMax)
            && makeRoom(
                for: source, in: { node != nil && $0.node == node }, limit: configuration.candidatesPerNodeMax)
            && makeRoom(for: source, in: { _ in true }, limit: configuration.candidateCountMax)
    }

    private mutating func makeRoom(for source: CandidateSource, in group: (Candidate) -> Bool, limit: Int) -> Bool {
        let members = byAddress.values.filter(group)
        guard members.count >= limit else { return true }
        let victim = members.filter { !$0.isDialling && $0.source <= source && $0.source < .invite }
            .min { ($0.source, $0.seenAt, $0.address.description) < ($1.source, $1.seenAt, $1.address.description) }
        guard let victim else { return false }
        byAddress[victim.address] = nil
        return true
    }
}
