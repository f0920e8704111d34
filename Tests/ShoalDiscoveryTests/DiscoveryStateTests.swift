import ShoalCore
import ShoalDiscovery
import ShoalLinks
import Testing

@Suite("Finding nodes")
struct DiscoveryStateTests {
    @Test("three fresh nodes see and link each other within three seconds, each pair by one link")
    func threeNodes() throws {
        var network = try VirtualNetwork(nodeCount: 3)
        for index in 0..<3 { try network.connect(index) }
        network.run(until: .seconds(3))
        #expect(network.sightings.count == 6)
        #expect(network.links.count == 3)
        #expect(network.dialCount == 3)
    }

    @Test("the same with nearly half of all datagrams lost", arguments: Array(1...50) as [UInt64])
    func loss(seed: UInt64) throws {
        var network = try VirtualNetwork(nodeCount: 3, lossProbability: 0.4, seed: seed)
        for index in 0..<3 { try network.connect(index) }
        network.run(until: .seconds(3))
        #expect(network.links.count == 3, "seed \(seed)")
    }

    @Test("a node that comes later is linked within three seconds although the others announce seldom by then")
    func latecomer() throws {
        var network = try VirtualNetwork(nodeCount: 3)
        try network.connect(0)
        try network.connect(1)
        network.run(until: .seconds(120))
        try network.connect(2)
        network.run(until: .seconds(123))
        #expect(network.links.count == 3)
    }

    @Test("a node that hears only what it asked for finds the others and dials them")
    func filteredNode() throws {
        var network = try VirtualNetwork(nodeCount: 3)
        network.filtered = [0]
        for index in 0..<3 { try network.connect(index) }
        network.run(until: .seconds(3))
        #expect(network.links.count == 3)
    }

    @Test("after the first minute beacons are rare")
    func quiet() throws {
        var network = try VirtualNetwork(nodeCount: 3)
        for index in 0..<3 { try network.connect(index) }
        network.run(until: .seconds(60))
        let before = network.datagramCount
        network.run(until: .seconds(120))
        // Four announcements a minute to two others, each answered at most once.
        #expect(network.datagramCount - before <= 3 * 5 * 2 * 2)
        #expect(network.datagramCount > before)
    }

    @Test("an interface that goes and comes back is announced on at once, and a lost link is made again")
    func interfaceReturns() throws {
        var network = try VirtualNetwork(nodeCount: 2)
        try network.connect(0)
        try network.connect(1)
        network.run(until: .seconds(40))
        network.disconnect(1)
        try network.breakLink(0, 1)
        network.run(until: .seconds(100))
        let dialsBefore = network.dialCount
        try network.connect(1)
        network.run(until: .seconds(103))
        #expect(network.dialCount > dialsBefore)
        #expect(try network.states[0].known.first?.node == Samples.node(2))
        let retry = network.states[0].known.first?.failureCount
        #expect(retry == 0)
    }

    @Test("a silent beacon is forgotten, a configured address never, and both only while no link exists")
    func expiry() throws {
        var network = try VirtualNetwork(nodeCount: 2)
        try network.connect(0)
        try network.connect(1)
        network.run(until: .seconds(10))
        network.disconnect(1)
        network.run(until: .seconds(200))
        #expect(network.states[0].known.count == 1)
        try network.breakLink(0, 1)
        network.run(until: .seconds(400))
        #expect(network.states[0].known.isEmpty)
    }

    private func heard(
        _ state: inout DiscoveryState, _ beacon: Beacon, from source: String, at now: Duration = .zero
    ) throws -> [DiscoveryAction] {
        state.received(
            BeaconCodec.encode(beacon), from: try #require(IPAddress(source)), port: 5000, now: now)
    }

    private func beacon(_ number: Int, cluster: ClusterTag = Samples.cluster, protocolNumber: UInt8 = 1) throws
        -> Beacon
    {
        Beacon(
            kind: .announcement, protocolNumber: protocolNumber, cluster: cluster, node: try Samples.node(number),
            linkPort: 7461)
    }

    @Test("another cluster is ignored and told once")
    func otherCluster() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 1)
        let stranger = try beacon(2, cluster: ClusterTag(rawValue: 5))
        let first = try heard(&state, stranger, from: "10.0.0.2")
        #expect(first == [.notice(.otherCluster(ClusterTag(rawValue: 5)))])
        #expect(try heard(&state, stranger, from: "10.0.0.2", at: .seconds(1)).isEmpty)
        #expect(state.known.isEmpty)
    }

    @Test("another protocol is told with both numbers and not dialled")
    func otherProtocol() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 1)
        let actions = try heard(&state, try beacon(2, protocolNumber: 9), from: "10.0.0.2")
        let source = try #require(IPAddress("10.0.0.2"))
        let notice = DiscoveryNotice.otherProtocol(try Samples.node(2), source, protocolNumber: 9)
        #expect(actions == [.notice(notice)])
        #expect(notice.description.contains("protocol 9"))
        #expect(state.known.isEmpty)
    }

    @Test("a node's own beacons are ignored; from another machine they are a copied identity")
    func ownBeacons() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 1)
        _ = state.interfacesRead([try Samples.interface("eth0", "10.0.0.1")], now: .zero)
        #expect(try heard(&state, try beacon(1), from: "10.0.0.1").isEmpty)
        let elsewhere = try #require(IPAddress("10.0.0.9"))
        let actions = try heard(&state, try beacon(1), from: "10.0.0.9")
        #expect(actions == [.notice(.ownIdentityElsewhere(elsewhere))])
        #expect(state.known.isEmpty)
    }

    @Test("one sender can neither flood the table nor make this node answer without end")
    func flood() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 1)
        var replyCount = 0
        for number in 2..<5000 {
            var forged = try beacon(number)
            forged.linkPort = UInt16(number)
            let actions = try heard(&state, forged, from: "10.0.0.66", at: .milliseconds(number))
            replyCount += actions.count { if case .reply = $0 { true } else { false } }
        }
        #expect(state.known.count <= state.configuration.candidatesPerHostMax)
        #expect(replyCount <= state.configuration.datagramBurst + 5 * 5)
    }

    @Test("a full table keeps what a person configured and what is best known")
    func tableBound() throws {
        var configuration = try Samples.configuration(1)
        configuration.candidateCountMax = 10
        var state = DiscoveryState(configuration: configuration, seed: 1)
        let fixed = try (0..<5).map { try Samples.address("10.9.0.\($0 + 1):7461") }
        _ = state.addPeers(fixed, source: .configured, now: .zero)
        for number in 2..<200 {
            _ = try heard(&state, try beacon(number), from: "10.1.0.\(number)", at: .seconds(number))
        }
        #expect(state.known.count <= 10)
        #expect(state.known.count { $0.source == .configured } == 5)
    }

    @Test("remembered, configured and invited addresses are dialled at once, the VPN's after the LAN's")
    func sources() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 1)
        let near = try Samples.interface("eth0", "192.168.3.7")
        let tailnet = try Samples.interface("tailscale0", "100.90.1.2", prefix: 32, multicast: false)
        _ = state.interfacesRead([near, tailnet], now: .zero)
        let lan = try Samples.address("192.168.3.50:7461")
        let vpn = try Samples.address("100.90.1.1:7461")
        let actions = state.addPeers([vpn, lan], node: try Samples.node(9), source: .remembered, now: .zero)
        #expect(actions.compactMap(\.dialledAddress) == [lan])
        #expect(state.tick(now: .milliseconds(100)).compactMap(\.dialledAddress).isEmpty)
        #expect(state.tick(now: .milliseconds(150)).compactMap(\.dialledAddress) == [vpn])
    }

    @Test("once one address of a node is linked, its others are left alone")
    func linkedNode() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 1)
        let lan = try Samples.address("192.168.3.50:7461")
        let vpn = try Samples.address("100.90.1.1:7461")
        let node = try Samples.node(9)
        _ = state.addPeers([lan, vpn], node: node, source: .remembered, now: .zero)
        _ = state.tick(now: .milliseconds(100))
        _ = state.dialEnded(lan, .linked(node), now: .milliseconds(110))
        #expect(state.tick(now: .seconds(60)).compactMap(\.dialledAddress).isEmpty)
        let again = state.linkClosed(to: node, now: .seconds(61)) + state.tick(now: .seconds(62))
        #expect(Set(again.compactMap(\.dialledAddress)) == [lan, vpn])
    }

    @Test("failed dials are repeated with growing, bounded pauses and their reason is kept")
    func retries() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 7)
        let address = try Samples.address("192.168.3.50:7461")
        _ = state.addPeers([address], source: .configured, now: .zero)
        var now = Duration.milliseconds(100)
        var actions = state.tick(now: now)
        var pauses: [Duration] = []
        for _ in 0..<12 {
            #expect(actions.compactMap(\.dialledAddress) == [address])
            _ = state.dialEnded(address, .failed("refused"), now: now)
            let next = try #require(state.nextWake)
            pauses.append(next - now)
            now = next
            actions = state.tick(now: now)
        }
        #expect(try #require(pauses.first) < .seconds(1))
        #expect(pauses.allSatisfy { $0 <= state.configuration.retryPauseMax * 1.5 })
        #expect(try #require(pauses.last) >= state.configuration.retryPauseMax)
        #expect(state.known.first?.problem == "refused")
    }

    @Test("a node does not dial itself")
    func ownAddress() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 1)
        _ = state.interfacesRead([try Samples.interface("eth0", "10.0.0.1")], now: .zero)
        let own = try Samples.address("10.0.0.1:7461")
        #expect(state.addPeers([own], source: .configured, now: .zero).isEmpty)
        let name = try Samples.address("myself.example:7461")
        _ = state.addPeers([name], source: .configured, now: .zero)
        _ = state.dialEnded(name, .isSelf, now: .zero)
        #expect(state.addPeers([name], source: .configured, now: .zero).compactMap(\.dialledAddress).isEmpty)
        #expect(state.known.isEmpty)
    }

    @Test("no more dials are under way than the limit allows")
    func dialLimit() throws {
        var state = DiscoveryState(configuration: try Samples.configuration(1), seed: 1)
        let addresses = try (1...40).map { try Samples.address("10.4.0.\($0):7461") }
        let first = state.addPeers(addresses, source: .configured, now: .zero) + state.tick(now: .seconds(1))
        let dialled = first.compactMap(\.dialledAddress)
        #expect(dialled.count == state.configuration.dialCountMax)
        #expect(state.nextWake == nil)
        let next = state.dialEnded(try #require(dialled.first), .failed("refused"), now: .seconds(2))
        #expect(next.compactMap(\.dialledAddress).count == 1)
    }

    @Test("a cluster of 40 nodes on one network links completely within three seconds")
    func manyNodes() throws {
        var network = try VirtualNetwork(nodeCount: 40)
        for index in 0..<40 { try network.connect(index) }
        network.run(until: .seconds(3))
        #expect(network.links.count == 40 * 39 / 2)
    }
}
