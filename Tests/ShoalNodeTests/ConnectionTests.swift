import ShoalCore
import ShoalTesting
import Testing

@testable import ShoalNode

extension NodeScenarios {
    @Suite("Nodes find each other", .timeLimit(.minutes(5)))
    struct ConnectionTests {
        @Test("one side dials and both list the other")
        func oneSideDials() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let b = try await cluster.start("b", peers: [a])
                try await cluster.until { await a.peerNames == ["b"] }
                try await cluster.until { await b.peerNames == ["a"] }
                let reports = await a.node.nodes()
                #expect(reports.map(\.id) == [a.node.id, b.node.id])
                let isKnown = await b.node.boundLinkAddress == reports[1].linkAddress
                #expect(isKnown)
            }
        }

        @Test("both sides dial and each lists the other once")
        func bothSidesDial() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a", linkAddress: "127.0.0.1:0")
                let b = try await cluster.start("b", peers: [a])
                let address = await a.node.boundLinkAddress
                await a.stop()
                let again = try await cluster.start("a", peers: [b], linkAddress: address)
                try await cluster.until { await again.peerNames == ["b"] }
                try await cluster.until { await b.peerNames == ["a"] }
                #expect(again.node.id == a.node.id)
            }
        }

        @Test("a node that listens on every address is known by the one that its links come from")
        func everyAddress() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a", linkAddress: "0.0.0.0:0")
                let port = try #require(await a.node.boundLinkAddress.split(separator: ":").last)
                let b = try await cluster.start("b")
                await b.node.connect(to: "127.0.0.1:\(port)")
                try await cluster.until { await b.peerNames == ["a"] }
                #expect(await b.node.nodes().map(\.linkAddress).contains("127.0.0.1:\(port)"))
                try await cluster.load("b=0-5,a=6-11", at: b, knownTo: [a, b])
            }
        }

        @Test("a forgotten node leaves the list and is not dialled again")
        func forgotten() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                _ = try await nodes[1].node.forget("a")
                try await cluster.until { await nodes[1].node.nodes().map(\.name) == ["b"] }
                #expect(await nodes[1].node.peers.targets.isEmpty)
                #expect(await nodes[1].node.members().map(\.name) == ["b"])
            }
        }

        @Test("a third node learns the others through a common peer")
        func commonPeer() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                #expect(await nodes[1].peerNames == ["a", "c"])
                #expect(await nodes[2].peerNames == ["a", "b"])
            }
        }

        @Test("a peer that does not answer is listed with the reason, and found when it comes")
        func latePeer() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let address = await a.node.boundLinkAddress
                await a.stop()
                let b = try await cluster.start("b", peers: [a])
                try await cluster.until {
                    await b.node.nodes().contains {
                        $0.reachability == .unreachable && $0.problem?.contains(address) == true
                    }
                }
                try await cluster.start("a", linkAddress: address)
                try await cluster.until { await b.peerNames == ["a"] }
            }
        }

        @Test("a node that dials itself goes on without itself as a peer")
        func selfDial() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let address = await a.node.boundLinkAddress
                await a.stop()
                let again = try await cluster.start("a", peers: [a], linkAddress: address)
                try await cluster.until { await again.node.nodes().count == 1 }
                #expect(await again.peerNames == [])
            }
        }
    }
}
