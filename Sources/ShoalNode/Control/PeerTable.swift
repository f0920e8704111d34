import ShoalCore
import ShoalLinks

/// The nodes that this one has or wants links to, as a value. Several links to one peer are normal (both sides
/// dialled); the oldest living direct one is used.
struct PeerTable {
    /// A connected node.
    struct Peer {
        var hello: LinkHello
        var announcement: NodeAnnouncement?
        var links: [ControlLink]
    }

    /// An address that is dialled again and again.
    struct Target {
        var connectedTo: NodeID?
        /// Whom it was connected to last, if ever.
        var lastNode: NodeID?
        var problem: String?
    }

    /// Links to one node: one per side that dialled, and some that die while others are made.
    static let linkCountMax = 8

    private(set) var connected: [NodeID: Peer] = [:]
    private(set) var targets: [String: Target] = [:]

    /// False when the address is known already or the table is full.
    mutating func addTarget(_ address: String) -> Bool {
        guard targets[address] == nil, targets.count < Limits.peerCountMax else { return false }
        targets[address] = Target()
        return true
    }

    mutating func targetFailed(_ address: String, problem: String) {
        targets[address]?.connectedTo = nil
        targets[address]?.problem = problem
    }

    mutating func targetConnected(_ address: String, to node: NodeID) {
        guard targets[address] != nil else { return }
        targets[address] = Target(connectedTo: node, lastNode: node, problem: nil)
    }

    /// A node that is no member any more is not dialled again.
    mutating func removeTargets(of node: NodeID) { targets = targets.filter { $0.value.lastNode != node } }

    /// An address that turned out to be this node's own.
    mutating func removeTarget(_ address: String) { targets[address] = nil }

    /// Whether there is room for a link to this node.
    func hasRoom(for node: NodeID) -> Bool {
        guard let peer = connected[node] else { return connected.count < Limits.peerCountMax }
        return peer.links.count < Self.linkCountMax
    }

    func contains(_ link: ControlLink) -> Bool {
        connected[link.peer.nodeID]?.links.contains { $0 === link } ?? false
    }

    /// True if the node had no link before.
    mutating func add(_ link: ControlLink, hello: LinkHello) -> Bool {
        var peer = connected[hello.nodeID] ?? Peer(hello: hello, announcement: nil, links: [])
        peer.hello = hello
        // Direct links before relayed ones, old ones before new ones.
        let place = link.isRelayed ? nil : peer.links.firstIndex(where: \.isRelayed)
        peer.links.insert(link, at: place ?? peer.links.endIndex)
        defer { connected[hello.nodeID] = peer }
        return peer.links.count == 1
    }

    /// True if that was the last link to the node.
    mutating func remove(_ link: ControlLink, of node: NodeID) -> Bool {
        guard var peer = connected[node] else { return false }
        peer.links.removeAll { $0 === link }
        connected[node] = peer.links.isEmpty ? nil : peer
        return peer.links.isEmpty
    }

    mutating func announce(_ announcement: NodeAnnouncement) {
        connected[announcement.id]?.announcement = announcement
    }

    func link(to node: NodeID) -> ControlLink? { connected[node]?.links.first }

    /// One that goes through no third node.
    func directLink(to node: NodeID) -> ControlLink? { connected[node]?.links.first { !$0.isRelayed } }

    /// Connected nodes and addresses that cannot be reached, sorted by name.
    func reports() -> [NodeReport] {
        let reachable = connected.map { id, peer in
            var report = NodeReport(
                name: peer.hello.nodeName, linkAddress: peer.hello.linkAddress, reachability: .connected)
            report.id = id
            report.apiAddress = peer.hello.apiAddress
            report.shoalVersion = peer.hello.shoalVersion
            report.engineBuild = peer.hello.llamaBuild
            report.threadCount = peer.announcement?.threadCount
            report.memoryTotal = peer.announcement?.memoryTotal
            report.memoryAvailable = peer.announcement?.memoryAvailable
            return report
        }
        let addresses = Set(connected.values.map(\.hello.linkAddress))
        let unreachable = targets.filter { $0.value.connectedTo == nil && !addresses.contains($0.key) }
            .map { address, target in
                var report = NodeReport(name: "?", linkAddress: address, reachability: .unreachable)
                report.problem = target.problem ?? "not dialled yet"
                return report
            }
        return (reachable + unreachable).sorted { ($0.name, $0.linkAddress) < ($1.name, $1.linkAddress) }
    }
}
