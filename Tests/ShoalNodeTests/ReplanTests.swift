import ShoalCore
import ShoalTesting
import Testing

@testable import ShoalNode

extension NodeScenarios {
    @Suite("Lost nodes are replaced", .timeLimit(.minutes(5)))
    struct ReplanTests {
        @Test("the others take over the layers of a node that does not come back", arguments: ["first", "head"])
        func lostNode(which: String) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.nodesThatNeedEachOther()
                let request = LoadRequest(model: cluster.modelPath, contextTokenCount: 2048)
                let id = try await nodes[0].node.load(request).id
                for node in nodes { try await cluster.ready(id, at: node) }
                let stages = try #require(await nodes[0].instance(id)).stages
                #expect(stages.count == 2)
                let lost = which == "head" ? stages[1].nodeName : stages[0].nodeName
                await nodes.first { $0.name == lost }?.stop()
                let others = nodes.filter { $0.name != lost }
                try await cluster.until { await others[0].instance(id) == nil }
                let report = try await cluster.readyInstance(at: others)
                #expect(Set(report.stages.map(\.nodeName)) == Set(others.map(\.name)))
                let answer = try await others[1].answer("hello", tokenCount: 20)
                #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 20))
                #expect(others.map(\.launcher.liveEngineCount) == [1, 1])
            }
        }

        @Test("while no plan fits, the model waits with the reason, and starts when a node is back")
        func waiting() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.nodesThatNeedEachOther()
                let address = await nodes[1].node.boundLinkAddress
                let request = LoadRequest(model: cluster.modelPath, contextTokenCount: 2048)
                let id = try await nodes[0].node.load(request).id
                try await cluster.ready(id, at: nodes[0])
                await nodes[1].stop()
                await nodes[2].stop()
                try await cluster.until {
                    let report = await nodes[0].node.instances().first
                    return report?.phase == .waiting && report?.problem?.contains("missing: b, c") == true
                }
                let error = await #expect(throws: ShoalError.self) {
                    _ = try await nodes[0].answer("hello", tokenCount: 1)
                }
                #expect(error?.code == .unavailable)
                let again = try await cluster.start("b", peers: [nodes[0]], linkAddress: address) {
                    $0.memoryLimit = nodes[1].node.configuration.memoryLimit
                }
                _ = try await cluster.readyInstance(at: [nodes[0], again])
                #expect(try await again.answer("hello", tokenCount: 3).terminals.count == 1)
            }
        }

        @Test("a model that waits can be stopped, and loaded in another way")
        func stopWaiting() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                await nodes[1].stop()
                try await cluster.until { await nodes[0].node.instances().map(\.phase) == [.waiting] }
                let slot = try #require(await nodes[0].node.instances().first)
                try await nodes[0].node.stop(slot.id)
                try await cluster.until { await nodes[0].node.instances().isEmpty }
                try await cluster.load("a=0-11", at: nodes[0])
            }
        }
    }
}

extension TestCluster {
    /// Three nodes of which two, and no single one, can hold the model.
    func nodesThatNeedEachOther(
        configure: (inout NodeConfiguration) -> Void = { _ in }
    ) async throws -> [TestNode] {
        let whole = try await start("whole")
        let plan = try await whole.node.plan(LoadRequest(model: modelPath, contextTokenCount: 2048))
        await whole.stop()
        let limit = ByteCount(try #require(plan.stages.first).neededBytes.rawValue - 1)
        var nodes: [TestNode] = []
        for name in ["a", "b", "c"] {
            nodes.append(
                try await start(name, peers: Array(nodes.prefix(1))) {
                    $0.memoryLimit = limit
                    $0.limits.lostNodeGrace = .milliseconds(300)
                    $0.limits.lostNodeGraceAtLaunch = .milliseconds(300)
                    configure(&$0)
                })
        }
        for node in nodes { try await until { await node.peerNames.count == 2 } }
        return nodes
    }

    /// The instance that answers, once all `nodes` know one.
    func readyInstance(at nodes: [TestNode]) async throws -> InstanceReport {
        var found: InstanceReport?
        for node in nodes {
            try await until {
                found = await node.node.instances().first { $0.phase == .ready }
                return found != nil
            }
        }
        return try #require(found)
    }
}
