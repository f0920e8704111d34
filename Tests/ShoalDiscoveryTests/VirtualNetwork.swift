import ShoalCore
import ShoalDiscovery
import ShoalLinks
import Testing

/// Nodes on one broadcast domain with virtual time: datagrams take a millisecond and may be lost.
struct VirtualNetwork {
    private struct Packet {
        var bytes: [UInt8]
        var from: Int
        var to: Int
        var at: Duration
    }

    private(set) var states: [DiscoveryState]
    private(set) var now = Duration.zero
    /// When node A first had an address of node B, by (A, B).
    private(set) var sightings: [[Int]: Duration] = [:]
    /// When a link between the two first existed, by (smaller, larger).
    private(set) var links: [[Int]: Duration] = [:]
    private(set) var dialCount = 0
    private(set) var datagramCount = 0
    private var packets: [Packet] = []
    private var random: Random
    private let lossProbability: Double
    /// Nodes that nothing reaches unless they asked: no multicast, no dial; replies come through.
    var filtered: Set<Int> = []

    init(nodeCount: Int, lossProbability: Double = 0, seed: UInt64 = 1) throws {
        random = Random(seed: seed)
        self.lossProbability = lossProbability
        states = try (0..<nodeCount).map {
            DiscoveryState(configuration: try Samples.configuration($0 + 1), seed: seed &+ UInt64($0))
        }
    }

    static func address(_ index: Int) -> String { "10.0.\(index / 200).\(index % 200 + 1)" }

    mutating func connect(_ index: Int) throws {
        let interface = try Samples.interface("eth0", Self.address(index), prefix: 16, broadcast: "10.0.255.255")
        perform(states[index].interfacesRead([interface], now: now), by: index)
    }

    mutating func disconnect(_ index: Int) { perform(states[index].interfacesRead([], now: now), by: index) }

    /// Runs everything that happens until `end`.
    mutating func run(until end: Duration) {
        while let next = nextEvent, next <= end {
            now = max(now, next)
            for packet in packets.filter({ $0.at <= now }) { deliver(packet) }
            packets.removeAll { $0.at <= now }
            for index in states.indices where states[index].nextWake.map({ $0 <= now }) ?? false {
                perform(states[index].tick(now: now), by: index)
            }
        }
        now = end
    }

    /// Both ends lose their link.
    mutating func breakLink(_ one: Int, _ other: Int) throws {
        perform(states[one].linkClosed(to: try Samples.node(other + 1), now: now), by: one)
        perform(states[other].linkClosed(to: try Samples.node(one + 1), now: now), by: other)
    }

    private var nextEvent: Duration? { (packets.map(\.at) + states.compactMap(\.nextWake)).min() }

    private mutating func deliver(_ packet: Packet) {
        guard let source = IPAddress(Self.address(packet.from)) else { return }
        let actions = states[packet.to].received(packet.bytes, from: source, port: 40000, now: now)
        perform(actions, by: packet.to)
        let isKnown = states[packet.to].known.contains { $0.address.host == Self.address(packet.from) }
        if isKnown, sightings[[packet.to, packet.from]] == nil { sightings[[packet.to, packet.from]] = now }
    }

    private mutating func perform(_ actions: [DiscoveryAction], by index: Int) {
        for action in actions {
            switch action {
            case .announce(let bytes, _):
                for other in states.indices
                where other != index && !filtered.contains(other) && !states[other].announcedInterfaces.isEmpty {
                    post(bytes, from: index, to: other)
                }
            case .reply(let bytes, let target, _):
                guard let other = states.indices.first(where: { Self.address($0) == target.description }) else { break }
                post(bytes, from: index, to: other)
            case .dial(let address, _): dial(address, by: index)
            case .listen, .notice: break
            }
        }
    }

    private mutating func post(_ bytes: [UInt8], from: Int, to: Int) {
        datagramCount += 1
        guard Double.random(in: 0..<1, using: &random) >= lossProbability else { return }
        packets.append(Packet(bytes: bytes, from: from, to: to, at: now + .milliseconds(1)))
    }

    private mutating func dial(_ address: LinkAddress, by index: Int) {
        dialCount += 1
        guard let other = states.indices.first(where: { Self.address($0) == address.host }), !filtered.contains(other),
            !states[other].announcedInterfaces.isEmpty, !states[index].announcedInterfaces.isEmpty
        else { return perform(states[index].dialEnded(address, .failed("timed out"), now: now), by: index) }
        let key = [min(index, other), max(index, other)]
        if links[key] == nil { links[key] = now }
        states[other].linkOpened(to: states[index].configuration.node)
        perform(
            states[index].dialEnded(address, .linked(states[other].configuration.node), now: now), by: index)
    }
}
