import Foundation
import ShoalCore
import ShoalTesting
import Testing

@testable import ShoalNode

extension NodeScenarios {
    @Suite("A node's speed", .timeLimit(.minutes(5)))
    struct SpeedTests {
        @Test("is measured once, told to peers, and read from the data folder at the next start")
        func measuredOnce() async throws {
            try await TestCluster.with { cluster in
                let first = try await cluster.start("a") { $0.measuresSpeed = true }
                let peer = try await cluster.start("b", peers: [first])
                try await cluster.until {
                    await peer.node.peers.connected[first.node.id]?.announcement?.speed?.device == "fake"
                }
                let said = try #require(try await first.node.plan(LoadRequest(model: cluster.modelPath)).prediction)
                #expect(!said.assumptions.contains { $0.contains("the speed of a is not measured") })
                #expect(first.launcher.engines.events.map(\.label) == ["speed"])
                await first.stop()
                let second = try await cluster.start("a") { $0.measuresSpeed = true }
                try await cluster.until { await second.node.speed != nil }
                #expect(second.launcher.engines.events.isEmpty)
            }
        }

        @Test("a plan before the measurement says what it assumes")
        func unmeasured() async throws {
            try await TestCluster.with { cluster in
                let node = try await cluster.start("a")
                let plan = try await node.node.plan(LoadRequest(model: cluster.modelPath))
                let said = try #require(plan.prediction).assumptions
                #expect(said.contains { $0.contains("the speed of a is not measured yet") })
            }
        }

        @Test("a damaged file is moved aside", arguments: ["", "{", #"{"machine":"m","speed":{}}"#])
        func damaged(text: String) async throws {
            let folder = FileManager.default.temporaryDirectory.path + "/shoal-speed-\(UInt64.random(in: 0 ... .max))"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            try Data(text.utf8).write(to: URL(filePath: folder + "/" + SpeedFile.name))
            let file = SpeedFile(dataDirectory: folder)
            let (record, notice) = file.load()
            #expect(record == nil)
            #expect(notice?.contains("damaged") == true)
            let names = try FileManager.default.contentsOfDirectory(atPath: folder)
            #expect(names.count == 1 && names[0].hasPrefix(SpeedFile.name + ".damaged-"))
            let fresh = SpeedRecord(machine: "m", speed: .fake(threadCount: 2))
            try file.store(fresh)
            #expect(file.load().record == fresh)
        }

        @Test("nothing can be loaded on an imagined node")
        func imagined() async throws {
            try await TestCluster.with { cluster in
                let node = try await cluster.start("a")
                var load = LoadRequest(model: cluster.modelPath)
                load.imaginedNodes = [LoadRequest.ImaginedNode(name: "big", memory: ByteCount(1 << 40))]
                #expect(try await node.node.plan(load).stages.count == 1)
                let error = await #expect(throws: ShoalError.self) { _ = try await node.node.load(load) }
                #expect(error?.message.contains("big does not exist") == true)
            }
        }
    }
}
