import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalTrust
import Testing

@testable import ShoalNode

extension NodeScenarios {
    @Suite("Nodes that disappear", .timeLimit(.minutes(5)))
    struct LostNodeTests {
        @Test("a worker that leaves mid-answer pauses it; once it is back the answer goes on")
        func worker() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("b", "a")
                let (b, a) = (nodes[0], nodes[1])
                let id = try await cluster.load("a=0-5,b=6-11", at: b, knownTo: nodes).id
                let address = await a.node.boundLinkAddress
                let engine = await a.engine()
                try await engine.holdBatches()
                let stream = try await b.node.generate(.text("hello", tokenCount: 50))
                _ = await engine.receivedBatches.first { $0.entries.count == 6 }
                await a.stop()
                try await cluster.until { await b.instance(id)?.phase == .recovering }
                #expect(await b.instance(id)?.problem?.contains("node a") == true)
                let again = try await cluster.start("a", peers: [b], linkAddress: address)
                try await cluster.ready(id, at: b)
                try await cluster.ready(id, at: again)
                let paused = try await Answer(reading: stream)
                #expect(paused.text == FakeModel().answer(to: "hello", tokenCount: 50))
                let answer = try await again.answer("hello", tokenCount: 20)
                #expect(answer.text == FakeModel().answer(to: "hello", tokenCount: 20))
            }
        }

        @Test("a head that leaves ends answers that nobody else may go on with; its orphaned stages are freed")
        func head() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c") {
                    $0.limits.lostAnswerUnplacedDeadline = .milliseconds(200)
                }
                let (a, b, c) = (nodes[0], nodes[1], nodes[2])
                let id = try await cluster.load("a=0-5,b=6-11", at: a, knownTo: nodes).id
                let engine = await a.engine()
                try await engine.holdBatches()
                let streams = [
                    try await a.node.generate(.text("hello", tokenCount: 50)),
                    try await c.node.generate(.text("hello", tokenCount: 50)),
                ]
                _ = await engine.receivedBatches.first { $0.entries.count == 6 }
                await b.stop()
                for stream in streams { _ = try await Answer(reading: stream).failure() }
                try await cluster.until { a.launcher.liveEngineCount == 0 }
                try await cluster.until { await c.instance(id) == nil }
                // The layers were assigned by hand, so that no other node can take its part.
                try await cluster.until { await c.node.instances().first?.problem?.contains("\"b\"") == true }
                #expect(await c.node.instances().map(\.phase) == [.waiting])
                let error = await #expect(throws: ShoalError.self) { _ = try await c.answer("hello", tokenCount: 1) }
                #expect(error?.code == .unavailable)
            }
        }

        @Test("a head that restarts within the grace forgets its instance, so the stage it left behind is freed")
        func restartedHead() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let head = try await ForeignPeer(to: a.node, as: identity)
                let assignment = try cluster.assignment(head: identity.trust.nodeID)
                _ = try await head.ask(.prepareStage(assignment))
                #expect(a.launcher.liveEngineCount == 1)
                head.link.close(because: nil)
                try await cluster.until { await a.peerNames == [] }
                let again = try await ForeignPeer(to: a.node, as: identity)
                try again.tell(.instances([]))
                try await cluster.until { a.launcher.liveEngineCount == 0 }
                try await cluster.until { await a.node.stageHeads.isEmpty }
            }
        }

        @Test("a reader's node that leaves frees its sequence in every stage")
        func reader() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                let stream = try await nodes[2].node.generate(.text("hello", tokenCount: 2000))
                var events = stream.makeAsyncIterator()
                _ = await events.next(isolation: nil)
                await nodes[2].stop()
                var rest = Answer()
                while let event = await events.next(isolation: nil) { rest.events.append(event) }
                #expect(try rest.failure().message.contains("node c"))
                try await cluster.untilFreed(id, at: nodes[0])
                #expect(try await nodes[0].answer("again", tokenCount: 3).terminals.count == 1)
            }
        }

        @Test("a node that shuts down ends its answers once and leaves no engine", arguments: [0, 1])
        func shutdown(asked: Int) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                let engine = await nodes[0].engine()
                try await engine.holdBatches()
                let stream = try await nodes[asked].node.generate(.text("hello", tokenCount: 50))
                _ = await engine.receivedBatches.first { $0.entries.count == 6 }
                await nodes[asked].stop()
                let failure = try await Answer(reading: stream).failure()
                #expect(failure.message.contains(nodes[asked].name))
                #expect(nodes[asked].launcher.liveEngineCount == 0)
                try await cluster.until { await nodes[1 - asked].peerNames == [] }
            }
        }
    }
}
