import ShoalCore
import ShoalNode
import ShoalTesting
import Testing

extension NodeScenarios {
    @Suite("A model split over nodes", .timeLimit(.minutes(5)))
    struct SplitTests {
        @Test(
            "two and three nodes answer like one, whichever node is asked",
            arguments: [["a=0-11"], ["a=0-5", "b=6-11"], ["b=0-5", "a=6-11"], ["c=0-3", "a=4-7", "b=8-11"]])
        func equalAnswers(layers: [String]) async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b", "c")
                let report = try await cluster.load(layers.joined(separator: ","), at: nodes[0], knownTo: nodes)
                #expect(report.headName == layers.last?.prefix(1).description)
                let expected = FakeModel().answer(to: "hello", tokenCount: 40)
                for node in nodes {
                    let answer = try await node.answer("hello", tokenCount: 40)
                    #expect(answer.text == expected, "asked at \(node.name)")
                    #expect(answer.terminals.count == 1)
                    guard case .started(6, _)? = answer.events.first else {
                        Issue.record("the first event is \(String(describing: answer.events.first))")
                        continue
                    }
                }
            }
        }

        @Test("many requests side by side from every node keep apart")
        func sideBySide() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes, sequenceCountMax: 4)
                try await withThrowingTaskGroup(of: (String, String).self) { group in
                    for number in 0..<12 {
                        group.addTask {
                            let prompt = "question \(number)"
                            return (prompt, try await nodes[number % 2].answer(prompt, tokenCount: 30).text)
                        }
                    }
                    for try await (prompt, text) in group {
                        #expect(text == FakeModel().answer(to: prompt, tokenCount: 30))
                    }
                }
            }
        }

        @Test("any node tells where the time of an answer went, stage by stage")
        func traces() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                _ = try await nodes[0].answer("hello", tokenCount: 10)
                for node in nodes {
                    let trace = try #require(try await node.node.traces(of: nil).first)
                    #expect(trace.headName == "b")
                    #expect(trace.places.map(\.nodeName) == ["a", "b"])
                    // The first of ten tokens belongs to the prompt.
                    #expect(trace.decode.tokenCount == 9)
                    #expect(trace.decode.microBatchCount == 9)
                    // Fake engines take a microsecond for each.
                    #expect(trace.decode.stages.map(\.compute) == [9, 9])
                    #expect(
                        trace.prompt.stages.map(\.compute) == [
                            trace.prompt.microBatchCount, trace.prompt.microBatchCount,
                        ])
                    #expect(try await node.node.traces(of: trace.request) == [trace])
                }
                await #expect(throws: ShoalError.self) {
                    try await nodes[0].node.traces(of: RequestID(rawValue: 1))
                }
            }
        }

        @Test("the boundary counts its tokens and bytes, and no weights cross it")
        func boundaryCounters() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                let id = try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes).id
                _ = try await nodes[0].answer("hello", tokenCount: 10)
                // Six of the prompt, nine decoded (the tenth is never fed back), one of the warm-up.
                try await cluster.until { await nodes[0].instance(id)?.stages[0].boundaryTokenCount == 16 }
                let stages = try #require(await nodes[0].instance(id)?.stages)
                #expect(stages[0].boundaryBytesSent > ByteCount(16 * 16 * 4))
                #expect(stages.map(\.weightBytesReceived) == [.zero, .zero])
                #expect(stages[1].boundaryBytesSent == .zero)
            }
        }
    }
}
