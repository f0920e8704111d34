import Foundation
import ShoalCore
import ShoalNode
import ShoalTesting
import Testing

extension NodeScenarios {
    @Suite("Each node's own copy of a model", .timeLimit(.minutes(5)))
    struct ModelFileTests {
        private func folder(_ name: String, in cluster: TestCluster) throws -> String {
            let path = cluster.folder + "/" + name
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            return path
        }

        @Test("a copy under another path is found in the node's model folders")
        func copyElsewhere() async throws {
            try await TestCluster.with { cluster in
                let own = try folder("own", in: cluster)
                _ = try TinyModelFile(seed: 7).write(to: own, name: "renamed.gguf")
                let models = try folder("models", in: cluster)
                let path = try TinyModelFile(seed: 7).write(to: models, name: "copy.gguf")
                let a = try await cluster.start("a")
                let b = try await cluster.start("b", peers: [a]) { $0.modelFolders = [own] }
                try await cluster.until { await a.peerNames == ["b"] }
                let opened = try await a.node.load(cluster.request("b=0-5,a=6-11", model: path)).id
                try await cluster.ready(opened, at: a)
                #expect(b.launcher.liveEngineCount == 1)
            }
        }

        @Test("the planning node without the file says so")
        func missingHere() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let path = cluster.folder + "/missing.gguf"
                let error = await #expect(throws: ShoalError.self) {
                    _ = try await a.node.load(cluster.request("a=0-11", model: path))
                }
                #expect(error?.message.contains(path) == true)
            }
        }

        @Test(
            "a worker whose file is gone, or another one of the same name, is refused with node and path",
            arguments: [nil, UInt8(9)])
        func otherContent(seed: UInt8?) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("b=0-5,a=6-11", at: nodes[0], knownTo: nodes).id
                if let seed {
                    _ = try TinyModelFile(seed: seed).write(to: cluster.folder)
                } else {
                    try FileManager.default.removeItem(atPath: cluster.modelPath)
                }
                await nodes[1].engine().die()
                try await cluster.until { await nodes[0].instance(id)?.phase == .failed }
                let problem = try #require(await nodes[0].instance(id)?.problem)
                #expect(problem.contains("node b") && problem.contains(cluster.modelPath))
                for node in nodes { try await cluster.until { node.launcher.liveEngineCount == 0 } }
            }
        }
    }
}
