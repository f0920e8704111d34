import ShoalCore
import ShoalEngine
import ShoalNode
import ShoalTesting
import Testing

extension NodeScenarios {
    @Suite("Readers that leave or are slow", .timeLimit(.minutes(5)))
    struct ReaderTests {
        @Test("a reader that leaves frees its sequence in every stage", arguments: [0, 1])
        func cancel(asked: Int) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                do {
                    let stream = try await nodes[asked].node.generate(.text("hello", tokenCount: 2000))
                    var events = stream.makeAsyncIterator()
                    _ = await events.next(isolation: nil)
                    _ = await events.next(isolation: nil)
                }
                try await cluster.untilFreed(id, at: nodes[0])
                try await cluster.until { await nodes[1].remoteRequestCount == 0 }
            }
        }

        @Test("a reader that leaves while its prompt is still tokenized never runs", arguments: [0, 1])
        func cancelDuringSubmit(asked: Int) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                let engine = await nodes[1].engine()
                try await engine.holdRequests()
                // Cancelled below.
                let reader = Task { try await nodes[asked].answer("hello", tokenCount: 2000) }
                _ = await engine.receivedRequests.first {
                    if case .tokenize = $0 { true } else { false }
                }
                reader.cancel()
                _ = await reader.result
                // Behind the reader's farewell on the same link.
                try await nodes[asked].roundTrip(to: nodes[1])
                try await engine.releaseRequests()
                _ = try await nodes[asked].answer("other", tokenCount: 3)
                let prompts = engine.receivedBatches.events.map(\.entries.count).filter { $0 == 6 }
                #expect(prompts.count == 1, "only the second prompt was computed")
                try await cluster.until { await nodes[1].remoteRequestCount == 0 }
            }
        }

        @Test("a slow reader pauses its own sequence only", arguments: [0, 1])
        func slowReader(asked: Int) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                let stream = try await nodes[asked].node.generate(.text("slow", tokenCount: 600))
                // The prompt's output and one for each further token that may be unread.
                let engine = await nodes[1].engine()
                let lastPosition = Int32(5 + Limits.unacknowledgedTokenCountMax - 2)
                _ = await engine.receivedBatches.first { batch in
                    batch.entries.contains { $0.position == lastPosition }
                }
                let other = try await nodes[asked].answer("other", tokenCount: 500)
                #expect(other.text == FakeModel().answer(to: "other", tokenCount: 500))
                let positions = engine.receivedBatches.events.flatMap(\.entries).filter { $0.sequence.rawValue == 0 }
                    .map(\.position)
                #expect(positions.allSatisfy { $0 <= lastPosition }, "the slow one stopped at the limit")
                #expect(await nodes[1].instance(id)?.phase == .ready)
                let answer = try await Answer(reading: stream)
                #expect(answer.text == FakeModel().answer(to: "slow", tokenCount: 600))
                guard case .finished(.length, let usage)? = answer.terminals.first else {
                    Issue.record("it ended with \(answer.terminals)")
                    return
                }
                #expect(usage.outputTokenCount == 600)
            }
        }
    }
}

extension TestCluster {
    /// Waits until the instance's head runs nothing, and no stage holds a sequence but those kept as prefixes.
    func untilFreed(_ id: InstanceID, at node: TestNode) async throws {
        try await until {
            guard let report = await node.instance(id), report.runningRequestCount == 0 else { return false }
            return report.stages.allSatisfy { $0.sequencesInUse.isEmpty }
        }
    }
}
