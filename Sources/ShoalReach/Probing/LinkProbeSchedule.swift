package import ShoalCore

/// Decides when links are measured. Pure: time is a parameter.
///
/// Whoever owns it performs the actions and reports each one's end. Nothing is measured on a link that carries an
/// answer or a load; what falls due meanwhile waits.
package struct LinkProbeSchedule: Sendable {
    /// How often, and how much at once.
    package struct Configuration: Sendable {
        /// Dial every known address again.
        package var dialInterval = Duration.seconds(600)
        package var pingInterval = Duration.seconds(60)
        /// A link that is new is left alone for so long before its throughput is measured: work may begin at once.
        package var bulkDelay = Duration.seconds(10)
        /// 10 MB cost a slow WiFi a second.
        package var bulkInterval = Duration.seconds(6 * 3600)
        /// A measurement that failed is tried again after so long.
        package var retryInterval = Duration.seconds(30)
        package var dialCountMax = 4
        package var pingCount = 9
        package var bulkByteCount = 10_000_000
        package var peerCountMax = Limits.peerCountMax

        package init() {}
    }

    package enum Action: Hashable, Sendable {
        /// Find out whether this address of a node is open; report with `dialEnded`.
        case dial(NodeID, address: String)
        /// Time so many round trips on a connection to a node; report with `measured`.
        case ping(NodeID, count: Int)
        /// Pings, and send so many bytes, on a connection of its own; report with `measured`.
        case bulk(NodeID, byteCount: Int)
    }

    private struct Peer: Sendable {
        var isBusy = false
        var isReachable = false
        var isMeasuring = false
        /// By address.
        var dialDue: [String: Duration] = [:]
        var dialling: Set<String> = []
        var pingDue: Duration
        var bulkDue: Duration
    }

    private let configuration: Configuration
    private let own: NodeID
    private var peers: [NodeID: Peer] = [:]

    package init(own: NodeID, configuration: Configuration = Configuration()) {
        self.own = own
        self.configuration = configuration
    }

    /// The addresses of a member as they are now; new ones are dialled at once.
    package mutating func addressesKnown(_ addresses: [String], of node: NodeID, now: Duration) {
        guard node != own, peers[node] != nil || peers.count < configuration.peerCountMax else { return }
        var peer = peers[node] ?? Peer(pingDue: now, bulkDue: now)
        let kept = Set(addresses.prefix(ReachMatrix.addressesPerPairMax))
        peer.dialDue = kept.reduce(into: [:]) { $0[$1] = peer.dialDue[$1] ?? now }
        peers[node] = peer
    }

    /// Whether a control or data connection to the node exists to measure on.
    package mutating func linkChanged(to node: NodeID, isLinked: Bool, now: Duration) {
        guard var peer = peers[node], peer.isReachable != isLinked else { return }
        peer.isReachable = isLinked
        if isLinked {
            peer.pingDue = now
            peer.bulkDue = max(peer.bulkDue, now + configuration.bulkDelay)
        } else {
            // Something changed: what was open may be closed now.
            for address in peer.dialDue.keys { peer.dialDue[address] = now }
        }
        peers[node] = peer
    }

    /// Whether an answer or a load is running over the link to the node.
    package mutating func busyChanged(_ node: NodeID, isBusy: Bool) { peers[node]?.isBusy = isBusy }

    /// Interfaces changed: everything is dialled again.
    package mutating func interfacesChanged(now: Duration) {
        for node in peers.keys { recheck(node, now: now) }
    }

    /// A dial that this schedule did not ask for failed: what is known of the node is out of date.
    package mutating func recheck(_ node: NodeID, now: Duration) {
        for address in peers[node]?.dialDue.keys.map(\.self) ?? [] { peers[node]?.dialDue[address] = now }
    }

    package mutating func forget(_ node: NodeID) { peers[node] = nil }

    /// A dial has a result, whichever.
    package mutating func dialEnded(_ node: NodeID, address: String, now: Duration) {
        guard peers[node]?.dialling.remove(address) != nil else { return }
        if peers[node]?.dialDue[address] != nil {
            peers[node]?.dialDue[address] = now + configuration.dialInterval
        }
    }

    /// A ping or bulk action ended.
    package mutating func measured(_ node: NodeID, _ action: Action, succeeded: Bool, now: Duration) {
        guard var peer = peers[node] else { return }
        peer.isMeasuring = false
        switch action {
        case .dial: break
        case .ping: peer.pingDue = now + (succeeded ? configuration.pingInterval : configuration.retryInterval)
        case .bulk:
            peer.bulkDue = now + (succeeded ? configuration.bulkInterval : configuration.retryInterval)
            if succeeded { peer.pingDue = now + configuration.pingInterval }
        }
        peers[node] = peer
    }

    /// What is due. One bulk transfer at a time on this node; it would measure the other otherwise.
    package mutating func tick(now: Duration) -> [Action] { dials(now: now) + measurements(now: now) }

    /// When something falls due, not counting what waits for an end or for a busy link.
    package var nextWake: Duration? {
        let hasFreeDial = peers.values.reduce(0) { $0 + $1.dialling.count } < configuration.dialCountMax
        let isAnyMeasuring = peers.values.contains(where: \.isMeasuring)
        return peers.values.filter { !$0.isBusy }.flatMap { peer in
            let dials = hasFreeDial ? peer.dialDue.filter { !peer.dialling.contains($0.key) }.map(\.value) : []
            let canMeasure = peer.isReachable && !isAnyMeasuring
            return dials + (canMeasure ? [min(peer.pingDue, peer.bulkDue)] : [])
        }.min()
    }

    private mutating func dials(now: Duration) -> [Action] {
        var free = configuration.dialCountMax - peers.values.reduce(0) { $0 + $1.dialling.count }
        var actions: [Action] = []
        for node in peers.keys.sorted() where peers[node]?.isBusy == false {
            let due = peers[node]?.dialDue.filter { $0.value <= now }.keys.sorted() ?? []
            for address in due where free > 0 && peers[node]?.dialling.insert(address).inserted == true {
                actions.append(.dial(node, address: address))
                free -= 1
            }
        }
        return actions
    }

    /// Bulk before pings, so that one node's pings do not keep another node's first measurement waiting.
    private mutating func measurements(now: Duration) -> [Action] {
        guard !peers.values.contains(where: \.isMeasuring) else { return [] }
        let idle = peers.filter { $0.value.isReachable && !$0.value.isBusy }
        let bulk = idle.filter { $0.value.bulkDue <= now }.min {
            ($0.value.bulkDue, $0.key) < ($1.value.bulkDue, $1.key)
        }
        let ping = idle.filter { $0.value.pingDue <= now }.min {
            ($0.value.pingDue, $0.key) < ($1.value.pingDue, $1.key)
        }
        guard let node = (bulk ?? ping)?.key else { return [] }
        peers[node]?.isMeasuring = true
        return bulk == nil
            ? [.ping(node, count: configuration.pingCount)] : [.bulk(node, byteCount: configuration.bulkByteCount)]
    }
}
