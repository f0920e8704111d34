import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalReach

/// What a node knows about who reaches whom: measured by itself, and told by others.
struct ReachState {
    private let startedAt = ContinuousClock.now
    private let own: NodeID
    private(set) var matrix = ReachMatrix()
    var schedule: LinkProbeSchedule
    var relayWishes: RelayWishes
    /// HOST:PORT where others may dial this node, best first.
    var advertised: [String] = []
    /// The clocks of others minus ours, seconds.
    var clockOffsets: [NodeID: Double] = [:]
    /// By peer, the nodes that it is linked with.
    private(set) var acquaintances: [NodeID: [NodeID: KnownPeer]] = [:]
    /// What peers have heard of.
    private var toldRows: [ReachRow] = []
    private var toldPeers: [KnownPeer] = []
    private var roundCount = 0

    /// Everything is told again after so many rounds of announcements, in case it was dropped.
    private static let toldAgainRounds = 30
    static let acquaintanceCountMax = Limits.peerCountMax

    init(own: NodeID, relayDelay: Duration) {
        self.own = own
        var wishes = RelayWishes.Configuration()
        wishes.delay = relayDelay
        wishes.laterSideDelay = relayDelay * 2
        relayWishes = RelayWishes(own: own, configuration: wishes)
        schedule = LinkProbeSchedule(own: own)
    }

    /// Monotonic, since the node began.
    var now: Duration { ContinuousClock.now - startedAt }

    // MARK: Rows

    /// Rows of `node`, which only that node may write.
    mutating func heard(_ rows: [ReachRow], from node: NodeID, members: Set<NodeID>) {
        matrix.merge(rows.filter { $0.from == node && members.contains($0.to) })
    }

    /// What a dial of this node found. How well bytes travelled when it was open stays known.
    mutating func found(_ finding: DialFinding, of node: NodeID, at address: String) {
        let old = matrix.rows(from: own, to: node).first { $0.address == address }
        matrix.merge([
            ReachRow(
                from: own, to: node, address: address, state: finding.state,
                detail: finding.detail.map {
                    String(decoding: $0.utf8.prefix(ReachRow.detailByteCountMax / 4), as: UTF8.self)
                },
                quality: old?.quality, measuredUnixMilliseconds: time(after: old))
        ])
    }

    mutating func measured(_ quality: LinkQuality, of node: NodeID, at address: String) {
        guard var row = matrix.rows(from: own, to: node).first(where: { $0.address == address }) else { return }
        var quality = quality
        // Pings alone say nothing about bulk.
        quality.bytesPerSecond = quality.bytesPerSecond ?? row.quality?.bytesPerSecond
        quality.bulkPassed = quality.bulkPassed ?? row.quality?.bulkPassed
        quality.longestStallMilliseconds = quality.longestStallMilliseconds ?? row.quality?.longestStallMilliseconds
        row.quality = quality
        row.measuredUnixMilliseconds = time(after: row)
        matrix.merge([row])
    }

    /// Later than the row that it replaces, whatever was done to the clock.
    private func time(after row: ReachRow?) -> Int64 {
        max(UnixClock.milliseconds(), (row?.measuredUnixMilliseconds ?? 0) + 1)
    }

    /// What to tell peers in this round of announcements: this node's rows and its peers, each if there is something
    /// new in it, or if it is long ago that it was told.
    mutating func news(peers: [KnownPeer]) -> (rows: [ReachRow]?, peers: [KnownPeer]?) {
        roundCount = (roundCount + 1) % Self.toldAgainRounds
        let isRepeated = roundCount == 0
        let rows = matrix.rows(measuredBy: own)
        defer { (toldRows, toldPeers) = (rows, peers) }
        return (rows != toldRows || isRepeated ? rows : nil, peers != toldPeers || isRepeated ? peers : nil)
    }

    // MARK: Nodes

    mutating func keep(only members: Set<NodeID>) {
        for node in Set(matrix.rows.flatMap { [$0.from, $0.to] }).subtracting(members) { schedule.forget(node) }
        matrix.keep(only: members)
        clockOffsets = clockOffsets.filter { members.contains($0.key) }
        acquaintances = acquaintances.filter { members.contains($0.key) }
    }

    mutating func heard(_ peers: [KnownPeer], from node: NodeID, members: Set<NodeID>) {
        let known = peers.prefix(Self.acquaintanceCountMax).filter { members.contains($0.id) && $0.id != own }
        acquaintances[node] = Dictionary(known.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    }

    mutating func linkClosed(to node: NodeID) { acquaintances[node] = nil }

    /// The peers that have a link of their own to `node`.
    func mediators(to node: NodeID) -> [NodeID] {
        acquaintances.filter { $0.value[node]?.isDirect == true }.map(\.key).sorted()
    }

    /// Where others say that `node` may be dialled.
    func toldAddresses(of node: NodeID) -> [String] {
        var addresses: [String] = []
        for peer in acquaintances.keys.sorted() {
            for address in acquaintances[peer]?[node]?.addresses ?? [] where !addresses.contains(address) {
                addresses.append(address)
            }
        }
        return Array(addresses.prefix(ReachMatrix.addressesPerPairMax))
    }

    /// Everybody that a peer is linked with.
    var heardOf: Set<NodeID> { acquaintances.values.reduce(into: []) { $0.formUnion($1.keys) } }
}
