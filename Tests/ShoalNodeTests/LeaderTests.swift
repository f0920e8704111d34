import Foundation
import ShoalCore
import ShoalMembership
import ShoalTesting
import Testing

@testable import ShoalNode

extension NodeScenarios {
    @Suite("Who is there and who leads", .timeLimit(.minutes(5)))
    struct LeaderTests {
        /// The nodes' names of who leads, and the terms.
        private func leaders(_ nodes: [TestNode]) async -> Set<String> {
            var found: Set<String> = []
            for node in nodes {
                let leading = await node.node.nodes().filter { $0.leadingTerm != nil }
                found.insert(leading.map { "\($0.name) \($0.leadingTerm ?? 0)" }.joined(separator: ", "))
            }
            return found
        }

        private func agree(_ nodes: [TestNode], _ cluster: TestCluster) async throws -> String {
            try await cluster.until {
                let found = await leaders(nodes)
                return found.count == 1 && found.first?.isEmpty == false
            }
            return try #require(await leaders(nodes).first?.split(separator: " ").first.map(String.init))
        }

        private func state(of name: String, at node: TestNode) async -> NodeReport.State? {
            await node.node.nodes().first { $0.name == name }?.state
        }

        @Test("three nodes agree on one leader, all alive")
        func agreement() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                _ = try await agree(nodes, cluster)
                for node in nodes {
                    try await cluster.until { await node.node.nodes().map(\.state) == [.alive, .alive, .alive] }
                }
            }
        }

        @Test("a node that leaves is dead at the others, keeps its row, and is alive again when it is back")
        func oneRow() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                _ = try await agree(nodes, cluster)
                let address = await nodes[2].node.boundLinkAddress
                await nodes[2].stop()
                for node in nodes.prefix(2) {
                    try await cluster.until { await state(of: "c", at: node) == .dead }
                    #expect(await node.node.nodes().map(\.name).sorted() == ["a", "b", "c"])
                }
                let again = try await cluster.start("c", peers: [nodes[0]], linkAddress: address)
                #expect(again.node.keeper.life == nodes[2].node.keeper.life + 1)
                for node in nodes.prefix(2) {
                    try await cluster.until { await state(of: "c", at: node) == .alive }
                    #expect(await node.node.nodes().count == 3)
                }
                _ = try await agree([nodes[0], nodes[1], again], cluster)
            }
        }

        @Test("a member that was forgotten leaves every list")
        func forgotten() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                _ = try await agree(nodes, cluster)
                _ = try await nodes[0].node.forget("c")
                for node in nodes.prefix(2) {
                    try await cluster.until { await node.node.nodes().map(\.name).sorted() == ["a", "b"] }
                    try await cluster.until { await node.node.keeper.view.rows.count == 1 }
                }
            }
        }

        @Test("loading one model at several nodes at the same moment makes one instance")
        func concurrentLoads() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                let ids = try await withThrowingTaskGroup(of: InstanceID.self) { group in
                    for node in nodes + nodes {
                        group.addTask { try await node.node.load(LoadRequest(model: cluster.modelPath)).id }
                    }
                    return try await group.reduce(into: Set()) { $0.insert($1) }
                }
                #expect(ids.count == 1)
                for node in nodes {
                    try await cluster.until { await node.node.instances().map(\.phase) == [.ready] }
                }
                #expect(nodes.map(\.launcher.liveEngineCount).reduce(0, +) == 1)
            }
        }

        @Test("the leader's loss disturbs no answer, and the next leader takes the instance over as it is")
        func leaderLost() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                let name = try await agree(nodes, cluster)
                let leader = try #require(nodes.first { $0.name == name })
                let others = nodes.filter { $0.name != name }
                let layers = "\(others[0].name)=0-5,\(others[1].name)=6-11"
                let id = try await cluster.load(layers, at: leader, knownTo: others).id
                let engine = await others[0].engine()
                try await engine.holdBatches()
                let stream = try await others[0].node.generate(.text("hello", tokenCount: 200))
                _ = await engine.receivedBatches.first { $0.entries.count == 6 }
                await leader.stop()
                try await engine.releaseBatches()
                let answer = try await Answer(reading: stream)
                #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 200))
                let next = try await agree(others, cluster)
                #expect(next != name)
                try await cluster.until {
                    let term = await others[1].node.keeper.member.term
                    return await others[1].node.ownership[id]?.ownedUnder == term
                }
                #expect(others.map(\.launcher.engines.events.count) == [1, 1], "nothing was loaded again")
                try await others[0].node.stop(id)
                #expect(others.map(\.launcher.liveEngineCount) == [0, 0])
            }
        }

        @Test("a load that cannot be placed is refused at once and leaves nothing behind")
        func refusedLoad() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                for node in nodes {
                    let error = await #expect(throws: ShoalError.self) {
                        _ = try await node.node.load(cluster.request("a=0-5,nobody=6-11"))
                    }
                    #expect(error?.code == .invalidPlacement)
                    #expect(await node.node.instances().isEmpty)
                }
                for node in nodes { #expect(await node.node.keeper.view.slots.filter(\.isWanted).isEmpty) }
            }
        }

        @Test("the number of a node's runs grows; a damaged one is moved aside")
        func life() throws {
            let folder = FileManager.default.temporaryDirectory.path + "/shoal-life-\(UInt64.random(in: 0 ... .max))"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let (first, _) = NodeLife.begin(in: folder)
            let (second, notice) = NodeLife.begin(in: folder)
            #expect(second == first + 1 && notice == nil)
            try Data("no number".utf8).write(to: URL(filePath: folder + "/" + NodeLife.fileName))
            let (third, damaged) = NodeLife.begin(in: folder)
            #expect(damaged?.contains("damaged") == true)
            #expect(NodeLife.begin(in: folder).life == third + 1)
            #expect(NodeLife.begin(in: folder + "/missing").notice?.contains("cannot be kept") == true)
        }
    }
}
