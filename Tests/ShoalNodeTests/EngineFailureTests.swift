import ShoalCore
import ShoalEngine
import ShoalNode
import ShoalTesting
import Testing

extension NodeScenarios {
    @Suite("Engines that fail", .timeLimit(.minutes(5)))
    struct EngineFailureTests {
        @Test("an engine that dies pauses the answer, which goes on in the recovered instance", arguments: [0, 1])
        func death(stage: Int) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                let engine = await nodes[stage].engine()
                // More than the head computes ahead of its reader.
                let stream = try await nodes[0].node.generate(.text("hello", tokenCount: 600))
                var events = stream.makeAsyncIterator()
                var answer = Answer()
                while answer.text.count < 20, let event = await events.next(isolation: nil) { answer.add(event) }
                engine.die()
                while let event = await events.next(isolation: nil) { answer.add(event) }
                #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 600))
                guard case .finished(.length, let usage)? = answer.terminals.first else {
                    Issue.record("it ended with \(answer.terminals)")
                    return
                }
                #expect(usage.outputTokenCount == 600)
                let report = try #require(await nodes[1].instance(id))
                #expect(report.stages.map(\.restartCount) == (stage == 0 ? [1, 0] : [0, 1]))
                #expect(nodes[1 - stage].launcher.engines.events.count == 1, "the other engine was kept")
            }
        }

        @Test(
            "a request whose engine dies again and again fails with the cause; the instance goes on", arguments: [0, 1])
        func culprit(stage: Int) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                let first = await nodes[stage].engine()
                try await first.holdBatches()
                let stream = try await nodes[0].node.generate(.text("hello", tokenCount: 50))
                for attempt in 0..<3 {
                    let engine = await nodes[stage].engine(attempt)
                    // Not the warm-up, which comes after the launch that this waited for.
                    if attempt > 0 { try await engine.holdBatches(entryCountMin: 2) }
                    _ = await engine.receivedBatches.first { $0.entries.count == 6 }
                    engine.die()
                    _ = await nodes[stage].engine(attempt + 1)
                }
                let failure = try await Answer(reading: stream).failure()
                #expect(failure.code == .engineLost)
                #expect(failure.message.contains("SIGKILL"))
                #expect(failure.message.contains("stage \(stage)"))
                #expect(failure.message.contains("node \(nodes[stage].name)"))
                for node in nodes { try await cluster.ready(id, at: node) }
                let answer = try await nodes[0].answer("hello", tokenCount: 20)
                #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 20))
            }
        }

        @Test("a micro-batch that an engine cannot compute fails its request only")
        func failedBatch() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                try await nodes[0].engine().failNextBatch(ShoalError(.internal, "the sums came out wrong"))
                let failure = try await nodes[0].answer("hello", tokenCount: 5).failure()
                #expect(failure.message.contains("the sums came out wrong"))
                let answer = try await nodes[1].answer("hello", tokenCount: 20)
                #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 20))
            }
        }

        @Test("an engine that cannot load for good fails the instance with its sentence, and nothing stays loaded")
        func permanentLoadFailure() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                nodes[0].launcher.failNextLoad(ShoalError(.malformedModel, "tensor blk.0 ends beyond the file"))
                let id = try await nodes[1].node.load(cluster.request("a=0-5,b=6-11")).id
                try await cluster.until { await nodes[0].instance(id)?.phase == .failed }
                let report = try #require(await nodes[0].instance(id))
                #expect(report.problem?.contains("tensor blk.0 ends beyond the file") == true)
                #expect(report.problem?.contains("node a") == true)
                for node in nodes { try await cluster.until { node.launcher.liveEngineCount == 0 } }
                await #expect(throws: ShoalError.self) { _ = try await nodes[0].answer("hello", tokenCount: 1) }
                try await nodes[0].node.stop(id)
                try await cluster.until { await nodes[0].instance(id) == nil }
            }
        }

        @Test("an engine that cannot be started once is started again")
        func transientLaunchFailure() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                nodes[1].launcher.failNextLaunch(ShoalError(.engineLost, "no process could be made"))
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                let answer = try await nodes[0].answer("hello", tokenCount: 20)
                #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 20))
            }
        }

        @Test("a request to a recovering instance is refused with the cause", arguments: [0, 1])
        func requestWhileRecovering(asked: Int) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                // Enough failures that the instance is found recovering.
                for _ in 0..<2 { nodes[0].launcher.failNextLaunch(ShoalError(.engineLost, "no process could be made")) }
                await nodes[0].engine().die()
                try await cluster.until { await nodes[asked].instance(id)?.phase == .recovering }
                let error = await #expect(throws: ShoalError.self) {
                    _ = try await nodes[asked].answer("hello", tokenCount: 1)
                }
                #expect(error?.code == .unavailable)
                #expect(error?.message.contains("recovering") == true)
                #expect(error?.message.contains("node a") == true)
                try await cluster.ready(id, at: nodes[asked])
            }
        }

        @Test("stages whose engines were built differently are refused with both versions")
        func differentBuilds() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a", launcher: FakeEngineLauncher(llamaBuild: "b100"))
                let b = try await cluster.start("b", peers: [a], launcher: FakeEngineLauncher(llamaBuild: "b200"))
                try await cluster.until { await a.peerNames == ["b"] }
                let id = try await a.node.load(cluster.request("a=0-5,b=6-11")).id
                try await cluster.until { await a.instance(id)?.phase == .failed }
                let problem = try #require(await a.instance(id)?.problem)
                #expect(problem.contains("b100") && problem.contains("b200"))
                #expect(problem.contains("node a") && problem.contains("node b"))
                try await cluster.until { a.launcher.liveEngineCount == 0 && b.launcher.liveEngineCount == 0 }
            }
        }
    }
}
