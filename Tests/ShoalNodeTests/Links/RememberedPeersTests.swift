import Foundation
import ShoalCore
import ShoalLinks
import Testing

@testable import ShoalNode

@Suite("Remembered addresses")
struct RememberedPeersTests {
    private func address(_ number: Int) throws -> LinkAddress {
        try LinkAddress(host: "10.0.\(number / 250).\(number % 250)", port: 7461)
    }

    @Test("what is stored is read again, most recent first")
    func roundTrip() throws {
        var peers = RememberedPeers()
        let node = NodeID.random()
        #expect(peers.worked(try address(1), of: node, unixSeconds: 100))
        #expect(peers.worked(try address(2), of: node, unixSeconds: 200))
        #expect(RememberedPeers(decoding: try peers.encoded()) == peers)
        #expect(peers.entries.map(\.address) == [try address(2), try address(1)])
    }

    @Test("an address that worked within the hour is not stored again, but is later, or for another node")
    func refresh() throws {
        var peers = RememberedPeers()
        let node = NodeID.random()
        #expect(peers.worked(try address(1), of: node, unixSeconds: 100))
        #expect(!peers.worked(try address(1), of: node, unixSeconds: 3700))
        #expect(peers.worked(try address(1), of: node, unixSeconds: 3701))
        // The clock was set back.
        #expect(peers.worked(try address(1), of: node, unixSeconds: 50))
        #expect(peers.worked(try address(1), of: .random(), unixSeconds: 60))
        #expect(peers.entries.count == 1)
    }

    @Test("addresses are bounded per node and together, the oldest giving way, and forgotten with their node")
    func bounds() throws {
        var peers = RememberedPeers()
        let node = NodeID.random()
        for number in 0..<10 { _ = peers.worked(try address(number), of: node, unixSeconds: number) }
        #expect(peers.entries.count == RememberedPeers.entryCountPerNodeMax)
        #expect(peers.entries.first?.address == (try address(9)))
        for number in 10..<1000 { _ = peers.worked(try address(number), of: .random(), unixSeconds: number) }
        #expect(peers.entries.count == RememberedPeers.entryCountMax)
        #expect(try peers.encoded().count < RememberedPeers.fileByteCountMax)
        let newest = try #require(peers.entries.first?.node)
        let wasKnown = peers.forget(newest)
        let isKnown = peers.forget(newest)
        #expect(wasKnown)
        #expect(!isKnown)
    }

    @Test("a damaged file is nothing", arguments: ["", "{", "[]", "{\"format\":2,\"peers\":[]}", "\u{0}\u{1}\u{2}"])
    func damaged(text: String) { #expect(RememberedPeers(decoding: Array(text.utf8)) == nil) }
}

extension NodeScenarios {
    @Suite("Nodes find each other again", .timeLimit(.minutes(5)))
    struct RestartTests {
        @Test("two nodes that were linked find each other after a restart with nothing given")
        func restart() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let address = await nodes[0].node.boundLinkAddress
                for node in nodes { await node.stop() }
                let a = try await cluster.start("a", linkAddress: address)
                let b = try await cluster.start("b")
                try await cluster.until { await b.peerNames == ["a"] }
                try await cluster.until { await a.peerNames == ["b"] }
                #expect(await b.node.peers.targets.isEmpty)
            }
        }

        @Test("the node that was dialled remembers the address of the one that dialled")
        func dialled() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.until { nodes[0].node.memory.entries.map(\.node) == [nodes[1].node.id] }
            }
        }

        @Test("a damaged file is moved aside and told, and the node starts")
        func damaged() async throws {
            try await TestCluster.with { cluster in
                let folder = cluster.folder + "/a"
                try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
                try Data("no JSON".utf8).write(to: URL(filePath: folder + "/peers.json"))
                let a = try await cluster.start("a")
                let checks = try await a.node.doctor().checks
                #expect(checks.contains { $0.outcome == .warning && $0.finding.contains("peers.json.damaged-") })
                let b = try await cluster.start("b", peers: [a])
                try await cluster.until { await a.peerNames == ["b"] }
                try await cluster.until { await b.peerNames == ["a"] }
                await a.stop()
                let names = try FileManager.default.contentsOfDirectory(atPath: folder)
                #expect(names.contains { $0.hasPrefix("peers.json.damaged-") })
            }
        }

        @Test("a forgotten node is not remembered")
        func forgotten() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                #expect(!nodes[1].node.memory.entries.isEmpty)
                _ = try await nodes[1].node.forget("a")
                try await cluster.until { nodes[1].node.memory.entries.isEmpty }
            }
        }
    }
}
