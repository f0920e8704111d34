import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalTrust
import Testing

@testable import ShoalNode

extension NodeScenarios {
    @Suite("Links have no direction", .timeLimit(.minutes(5)))
    struct RouteTests {
        private static let probe = LinkHello.Purpose.data(instance: InstanceID(rawValue: 7), generation: 1, boundary: 0)

        @Test(
            "a node that nobody can dial holds either stage, and answers", arguments: ["a=0-5,b=6-11", "b=0-5,a=6-11"])
        func reversed(layers: String) async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let b = try await cluster.start("b", peers: [a], acceptsLinks: false)
                for (node, other) in [(a, "b"), (b, "a")] {
                    try await cluster.until { await node.peerNames == [other] }
                }
                try await cluster.load(layers, at: a, knownTo: [a, b])
                for node in [a, b] {
                    let answer = try await node.answer("hello", tokenCount: 20)
                    #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 20))
                }
                #expect(await a.node.routes[b.node.id] == .reversed)
                #expect(await b.node.routes[a.node.id] != .reversed)
                #expect(a.node.reversals.count == 0)
            }
        }

        @Test("two nodes that nobody can dial are linked, loaded and answer through the third one")
        func relayed() async throws {
            try await TestCluster.with { cluster in
                let c = try await cluster.start("c")
                let a = try await cluster.start("a", peers: [c], acceptsLinks: false)
                let b = try await cluster.start("b", peers: [c], acceptsLinks: false)
                try await cluster.until { await a.peerNames == ["b", "c"] }
                try await cluster.until { await b.peerNames == ["a", "c"] }
                #expect(await a.node.peers.link(to: b.node.id)?.isRelayed == true)
                try await cluster.load("a=0-5,b=6-11", at: a, knownTo: [a, b, c])
                for node in [a, b, c] {
                    let answer = try await node.answer("hello", tokenCount: 20)
                    #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 20))
                }
                let route = await a.node.routes[b.node.id] ?? .reversed
                let back = await b.node.routes[a.node.id] ?? .reversed
                #expect([route, back].contains(.relayed(through: c.node.id)))
                #expect(c.node.relays.count > 0)
                try await cluster.until { try await a.node.links().pairs.contains { $0.way == .relayed } }
                await c.stop()
                try await cluster.until { await a.peerNames == [] }
                try await cluster.until { await b.peerNames == [] }
            }
        }

        @Test("a relayed link gives way to a direct one as soon as there is one")
        func upgraded() async throws {
            try await TestCluster.with { cluster in
                let c = try await cluster.start("c")
                let a = try await cluster.start("a", peers: [c], acceptsLinks: false)
                let b = try await cluster.start("b", peers: [c], acceptsLinks: false)
                try await cluster.until { await a.peerNames == ["b", "c"] }
                let address = await b.node.boundLinkAddress
                // Somebody opens the firewall: b is reached at another address.
                let opened = try await LinkListener.bind(
                    LinkAddress(parsing: address), eventLoopGroup: b.node.dataLoop, security: b.node.security,
                    hello: { b.node.identity.hello(purpose: .control) }, onLink: { b.node.take($0, $1) })
                try await cluster.until { await a.node.peers.directLink(to: b.node.id) != nil }
                try await cluster.until { await a.node.peers.connected[b.node.id]?.links.count == 1 }
                #expect(await a.node.peers.link(to: b.node.id)?.isRelayed == false)
                await opened.close()
            }
        }

        @Test("who is asked to dial with a token of somebody else, or none, gets nothing")
        func foreignTokens() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity)
                for purpose in [LinkHello.Purpose.reversed(.random()), .relay(.random())] {
                    let closed = try await peer.closedAfterDialling(a.node, as: identity, purpose)
                    #expect(closed?.code == .notFound)
                }
                let orders: [ControlRequest] = [
                    .openRelay(RelayOrder(token: .random(), to: .random())),
                    .joinRelay(RelayOffer(token: .random(), from: .random())),
                    .dialBack(DialBack(token: .random(), purpose: .reversed(.random()), addresses: [])),
                    .dialBack(DialBack(token: .random(), purpose: .control, addresses: ["127.0.0.1:2"])),
                ]
                for order in orders {
                    await #expect(throws: ShoalError.self) { _ = try await peer.ask(order) }
                }
                #expect(a.node.relays.count == 0)
                #expect(await a.peerNames == [])
            }
        }

        @Test(
            "when no way leads to a node, the error names every one that was tried"
        )
        func nothingWorks() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity)
                let error = await #expect(throws: ShoalError.self) {
                    _ = try await a.node.openLink(to: identity.trust.nodeID, purpose: Self.probe)
                }
                #expect(error?.message.contains("127.0.0.1:1") == true)
                #expect(error?.message.contains("was asked to dial") == true)
                #expect(a.node.reversals.count == 0)
                peer.link.close(because: nil)
            }
        }
    }
}

extension ForeignPeer {
    /// Why `node` closes a link for `purpose`.
    fileprivate func closedAfterDialling(
        _ node: Node, as identity: LinkSecurity, _ purpose: LinkHello.Purpose
    ) async throws -> ShoalError? {
        let hello = LinkHello(
            nodeID: identity.trust.nodeID, nodeName: "foreign", llamaBuild: "fake", linkAddress: "127.0.0.1:1",
            apiAddress: nil, purpose: purpose)
        let (connection, _) = try await LinkDialer.dial(
            LinkAddress(parsing: await node.boundLinkAddress), eventLoop: node.dataLoop, security: identity,
            hello: hello)
        let receiver = RecordingReceiver()
        connection.start(receiver)
        return await receiver.closeReason()
    }
}
