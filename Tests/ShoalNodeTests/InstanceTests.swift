import ShoalCore
import ShoalNode
import ShoalTesting
import Testing

extension NodeScenarios {
    @Suite("Instances come and go", .timeLimit(.minutes(5)))
    struct InstanceTests {
        @Test("stop unloads everywhere, and stopping again finds nothing", arguments: [0, 1, 2])
        func stop(asked: Int) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                let stream = try await nodes[2].node.generate(.text("hello", tokenCount: 2000))
                try await nodes[asked].node.stop(id)
                #expect(nodes.map(\.launcher.liveEngineCount) == [0, 0, 0])
                #expect(try await Answer(reading: stream).failure().message.contains("stopped"))
                for node in nodes { try await cluster.until { await node.instance(id) == nil } }
                let error = await #expect(throws: ShoalError.self) { try await nodes[asked].node.stop(id) }
                #expect(error?.code == .notFound)
                // At once, where it was stopped: nothing of the old one is taken for a running one.
                try await cluster.load("a=0-5,b=6-11", at: nodes[asked], knownTo: nodes)
                #expect(try await nodes[0].answer("hello", tokenCount: 3).terminals.count == 1)
            }
        }

        @Test("two stops at once both return when everything is unloaded")
        func concurrentStops() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                await withTaskGroup { group in
                    for node in nodes {
                        group.addTask {
                            // The slower one may find nothing left.
                            try? await node.node.stop(id)
                            #expect(nodes.map(\.launcher.liveEngineCount) == [0, 0])
                        }
                    }
                }
            }
        }

        @Test("stop while loading leaves no engine")
        func stopWhileLoading() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                for _ in 0..<20 {
                    let id = try await nodes[1].node.load(cluster.request("a=0-5,b=6-11")).id
                    try await nodes[1].node.stop(id)
                    #expect(await nodes[1].instance(id) == nil)
                    // Whatever was on its way to node a has been answered by now.
                    try await cluster.until { nodes.allSatisfy { $0.launcher.liveEngineCount == 0 } }
                }
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                #expect(nodes.map(\.launcher.liveEngineCount) == [1, 1])
            }
        }

        @Test("loading a model again gives the running instance, and is refused with other layers")
        func loadTwice() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                for node in nodes {
                    let again = try await node.node.load(LoadRequest(model: cluster.modelPath))
                    #expect(again.id == id)
                    let error = await #expect(throws: ShoalError.self) {
                        _ = try await node.node.load(cluster.request("a=0-11"))
                    }
                    #expect(error?.message.contains("\(id)") == true)
                }
            }
        }

        @Test("loading a model several times at once makes one instance")
        func concurrentLoads() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let ids = try await withThrowingTaskGroup(of: InstanceID.self) { group in
                    for _ in 0..<8 {
                        group.addTask { try await a.node.load(LoadRequest(model: cluster.modelPath)).id }
                    }
                    return try await group.reduce(into: Set()) { $0.insert($1) }
                }
                #expect(ids.count == 1)
                #expect(await a.node.instances().count == 1)
            }
        }

        @Test("two instances answer side by side")
        func twoInstances() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let other = try TinyModelFile(seed: 1).write(to: cluster.folder, name: "other.gguf")
                let first = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                let second = try await nodes[1].node.load(cluster.request("b=0-5,a=6-11", model: other)).id
                for node in nodes { try await cluster.ready(second, at: node) }
                var request = GenerationRequest.text("hello", tokenCount: 30)
                request.model = "other"
                let stream = try await nodes[1].node.generate(request)
                let expected = FakeModel().answer(to: "hello", tokenCount: 30)
                #expect(try await nodes[0].answer("hello", tokenCount: 30).text == expected)
                #expect(try await Answer(reading: stream).text == expected)
                #expect(await nodes[0].node.servedModels().map(\.name) == ["other", "tiny"])
                try await nodes[0].node.stop(first)
                #expect(nodes.map(\.launcher.liveEngineCount) == [1, 1])
            }
        }

        @Test("a context of one token is refused, and the node lives")
        func tinyContext() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                var request = try cluster.request("a=0-11")
                request.contextTokenCount = 1
                await #expect(throws: ShoalError.self) { _ = try await a.node.load(request) }
                try await cluster.load("a=0-11", at: a)
            }
        }
    }
}
