import ShoalCore
import ShoalLinks
import ShoalTesting
import Testing

@testable import ShoalNode

extension NodeScenarios {
    @Suite("Answers outlive their instance", .timeLimit(.minutes(5)))
    struct ContinuedAnswerTests {
        /// More than a head sends ahead of its reader, so that the answer is under way until the reader goes on.
        private static let tokenCount = 3 * Limits.unacknowledgedTokenCountMax

        @Test(
            "an answer goes on when the node of a stage is lost for good, wherever its reader is",
            arguments: ["first", "head"], ["elsewhere", "at a stage"])
        func lostNode(which: String, reader: String) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.nodesThatNeedEachOther()
                let loaded = try await loadEverywhere(nodes, cluster)
                let stages = loaded.stages.map(\.nodeName)
                let lost = which == "head" ? stages[1] : stages[0]
                let other = which == "head" ? stages[0] : stages[1]
                let asked = try #require(
                    nodes.first { reader == "elsewhere" ? !stages.contains($0.name) : $0.name == other })
                let stream = try await asked.node.generate(.text("hello", tokenCount: Self.tokenCount))
                var events = stream.makeAsyncIterator()
                var answer = Answer()
                while answer.events.count < 20, let event = await events.next(isolation: nil) { answer.add(event) }
                await nodes.first { $0.name == lost }?.stop()
                while let event = await events.next(isolation: nil) { answer.add(event) }
                expectWhole(answer, prompt: "hello")
                let now = try #require(await asked.node.instances().first)
                #expect(now.id != loaded.id && !now.stages.map(\.nodeName).contains(lost))
            }
        }

        @Test("an answer whose link to the head breaks goes on at the same head over the next link")
        func brokenLink() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                let stream = try await nodes[2].node.generate(.text("hello", tokenCount: Self.tokenCount))
                var events = stream.makeAsyncIterator()
                var answer = Answer()
                while answer.events.count < 20, let event = await events.next(isolation: nil) { answer.add(event) }
                let head = nodes[1].node.id
                let link = try #require(await nodes[2].node.peers.link(to: head))
                link.close(because: nil)
                while let event = await events.next(isolation: nil) { answer.add(event) }
                expectWhole(answer, prompt: "hello")
                #expect(await nodes[2].instance(id)?.phase == .ready)
                try await cluster.untilFreed(id, at: nodes[1])
                try await cluster.until { await nodes[1].remoteRequestCount == 0 }
            }
        }

        @Test("an answer that nobody can go on with ends, and says what is missing")
        func nobodyLeft() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.nodesThatNeedEachOther {
                    $0.limits.lostAnswerUnplacedDeadline = .milliseconds(200)
                }
                let loaded = try await loadEverywhere(nodes, cluster)
                let asked = try #require(nodes.first { $0.name == loaded.stages[1].nodeName })
                let stream = try await asked.node.generate(.text("hello", tokenCount: Self.tokenCount))
                for node in nodes where node.name != asked.name { await node.stop() }
                let failure = try await Answer(reading: stream).failure()
                #expect(failure.message.contains("no other node can go on"), "\(failure)")
                #expect(failure.message.contains("missing:"), "\(failure)")
            }
        }

        @Test("an answer of a model that its user stops ends at once")
        func stopped() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                let streams = [
                    try await nodes[2].node.generate(.text("hello", tokenCount: Self.tokenCount)),
                    try await nodes[1].node.generate(.text("hello", tokenCount: Self.tokenCount)),
                ]
                try await nodes[0].node.stop(id)
                for stream in streams {
                    let failure = try await Answer(reading: stream).failure()
                    #expect(failure.message.contains("stopped"), "\(failure)")
                }
            }
        }

        @Test("a reader that leaves while its answer looks for another instance starts nothing there")
        func leavesMeanwhile() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.nodesThatNeedEachOther()
                let loaded = try await loadEverywhere(nodes, cluster)
                let stages = loaded.stages.map(\.nodeName)
                let asked = try #require(nodes.first { !stages.contains($0.name) })
                do {
                    let stream = try await asked.node.generate(.text("hello", tokenCount: Self.tokenCount))
                    var events = stream.makeAsyncIterator()
                    for _ in 0..<20 { _ = await events.next(isolation: nil) }
                    await nodes.first { $0.name == stages[1] }?.stop()
                }
                let others = nodes.filter { $0.name != stages[1] }
                for node in others { try await cluster.until { await node.instance(loaded.id) == nil } }
                let next = try await cluster.readyInstance(at: others)
                for node in others { try await cluster.until { await node.remoteRequestCount == 0 } }
                try await cluster.untilFreed(next.id, at: asked)
                let answer = try await asked.answer("other", tokenCount: 5)
                #expect(answer.text == FakeModel().answer(to: "other", tokenCount: 5))
            }
        }

        private func loadEverywhere(_ nodes: [TestNode], _ cluster: TestCluster) async throws -> InstanceReport {
            let request = LoadRequest(model: cluster.modelPath, contextTokenCount: 2048)
            let id = try await nodes[0].node.load(request).id
            for node in nodes { try await cluster.ready(id, at: node) }
            return try #require(await nodes[0].instance(id))
        }

        private func expectWhole(_ answer: Answer, prompt: String) {
            #expect(answer.text == FakeModel().answer(to: prompt, tokenCount: Self.tokenCount))
            #expect(answer.terminals.count == 1)
            #expect(answer.events.count { if case .started = $0 { true } else { false } } == 1)
            guard case .finished(.length, let usage)? = answer.events.last else {
                Issue.record("it ended with \(String(describing: answer.events.last))")
                return
            }
            #expect(usage.outputTokenCount == Self.tokenCount && usage.promptTokenCount == 6)
            #expect(usage.decodeSeconds > 0)
        }
    }
}
