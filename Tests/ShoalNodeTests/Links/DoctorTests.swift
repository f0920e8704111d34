import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalReach
import ShoalTesting
import ShoalTrust
import Testing

@testable import ShoalNode

extension NodeScenarios {
    @Suite("The node knows who reaches whom", .timeLimit(.minutes(5)))
    struct DoctorTests {
        private func checks(_ node: TestNode, _ outcome: DoctorCheck.Outcome) async throws -> [String] {
            try await node.node.doctor().checks.filter { $0.outcome == outcome }.map(\.finding)
        }

        @Test("every node has the rows of all, and the doctor finds nothing")
        func matrix() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                for node in nodes {
                    try await cluster.until {
                        let links = try await node.node.links().links
                        return links.count == 6 && links.allSatisfy { $0.roundTripMilliseconds != nil }
                    }
                    #expect(try await node.node.links().pairs.map(\.way) == [.direct, .direct, .direct])
                    #expect(try await checks(node, .failure).isEmpty)
                    #expect(try await checks(node, .warning).isEmpty)
                }
            }
        }

        @Test("the doctor says of each node what it computes with and which layers it holds")
        func environments() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                let found = try await nodes[1].node.doctor().environments
                #expect(found.map(\.nodeName) == ["b", "a"])
                #expect(found.allSatisfy { $0.shoalVersion == ShoalVersion.current && $0.memoryTotal > .zero })
                #expect(found.map { $0.held.map(\.layers.description) } == [["6-11"], ["0-5"]])
                #expect(found.allSatisfy { $0.held.allSatisfy { $0.weightBytes > .zero } })
            }
        }

        @Test("a node that refuses to be dialled shows in the matrix of all, with who dials instead")
        func refused() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let b = try await cluster.start("b", peers: [a], acceptsLinks: false)
                try await cluster.until {
                    let links = try await b.node.links().links
                    return links.contains { $0.from == a.node.id && $0.state == .refused }
                }
                try await cluster.until {
                    try await a.node.links().links.contains { $0.from == b.node.id && $0.state == .open }
                }
                let pair = try #require(try await a.node.links().pairs.first)
                #expect(pair.way == (pair.first == b.node.id ? .direct : .reversed))
                #expect(try await checks(a, .warning).contains { $0.contains("is refused by b") })
            }
        }

        @Test("a clock, an engine build and a name are told from what a node says of itself")
        func facts() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a") { $0.llamaBuild = "b1" }
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity, name: "a")
                var announcement = NodeAnnouncement(
                    id: identity.trust.nodeID, name: "a", linkAddress: "127.0.0.1:1", threadCount: 1,
                    memoryTotal: .zero, memoryAvailable: .zero, shoalVersion: ShoalVersion.current)
                announcement.engineBuild = "b2"
                announcement.unixMilliseconds = UnixClock.milliseconds() + 3_600_000
                announcement.addresses = ["no address", "10.0.0.1:70000"]
                announcement.interfaces = ["nonsense"]
                try peer.tell(.node(announcement))
                try await cluster.until { try await checks(a, .failure).contains { $0.contains("engine builds") } }
                let warnings = try await checks(a, .warning)
                #expect(warnings.contains { $0.contains("ahead") })
                #expect(warnings.contains("2 nodes are called a"))
            }
        }

        @Test("a node of another protocol is told with both numbers, on both sides")
        func otherProtocol() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                var hello = LinkHello(
                    nodeID: identity.trust.nodeID, nodeName: "new", llamaBuild: "", linkAddress: "127.0.0.1:1",
                    apiAddress: nil)
                hello.protocolNumber = 200
                let error = await #expect(throws: ShoalError.self) {
                    _ = try await LinkDialer.dial(
                        LinkAddress(parsing: await a.node.boundLinkAddress),
                        eventLoop: MultiThreadedEventLoopGroup.singleton.next(), security: identity, hello: hello)
                }
                let sentence = "speaks protocol 200, this node protocol \(ShoalVersion.protocolNumber)"
                #expect(error?.message.contains(sentence) == true)
                #expect(try await checks(a, .failure).contains { $0.contains(sentence) })
            }
        }

        @Test("rows that a peer writes for others, or of strangers, are dropped")
        func foreignRows() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity)
                let own = identity.trust.nodeID
                func row(_ from: NodeID, _ to: NodeID) -> ReachRow {
                    ReachRow(from: from, to: to, address: "10.0.0.1:1", state: .open, measuredUnixMilliseconds: 1)
                }
                try peer.tell(.reach([row(a.node.id, own), row(own, .random()), row(own, a.node.id)]))
                try await cluster.until {
                    try await a.node.links().links.contains { $0.from == own && $0.to == a.node.id }
                }
                let links = try await a.node.links().links
                #expect(links.count { $0.from == own } == 1)
                #expect(!links.contains { $0.address == "10.0.0.1:1" && $0.from == a.node.id })
            }
        }
    }
}
