import ShoalCore
import ShoalScheduling
import Testing

@Suite("Ends of requests")
struct HeadEndTests {
    @Test("an answer ends with the model's own end, its stop sequence, or its length")
    func finishes() throws {
        var head = HeadFixture()
        try head.submit(1, promptTokenCount: 1)
        head.answer("a")
        head.answer(isEndOfGeneration: true)
        #expect(head.end(of: 1) == "stop")
        try head.submit(2, promptTokenCount: 1, stopSequences: ["END"])
        while head.end(of: 2) == nil { head.answer("bEND") }
        #expect(head.end(of: 2) == "stop")
        #expect(head.events(of: 2).dropFirst().first == .text("b", tokens: [HeadFixture.answered]))
        try head.submit(3, promptTokenCount: 1, outputTokenCountMax: 2, stopSequences: ["xxxx"])
        while head.end(of: 3) == nil { head.answer("x") }
        #expect(head.end(of: 3) == "length")
        // Held back as a possible stop sequence, told at the end.
        #expect(
            head.events(of: 3).dropFirst().first == .text("xx", tokens: [HeadFixture.answered, HeadFixture.answered]))
    }

    @Test("a finished sequence keeps its cells as a prefix, without a micro-batch")
    func keepsFinished() throws {
        var head = HeadFixture()
        try head.submit(1, promptTokenCount: 1, outputTokenCountMax: 1)
        let actions = head.answer()
        #expect(actions.contains(.releaseSampler(sequence(0))))
        #expect(head.sent.isEmpty)
        #expect(head.scheduler.sequencesInUse.isEmpty && head.scheduler.reservedCellCount == 0)
        #expect(head.scheduler.cachedSequences == [sequence(0)])
    }

    @Test("what the new owner of a sequence cannot use is removed by its first micro-batch")
    func removalRidesAlong() throws {
        var head = HeadFixture { $0.sequenceCountMax = 1 }
        try head.submit(1, promptTokenCount: 1, outputTokenCountMax: 1)
        try head.submit(2, promptTokenCount: 2)
        let actions = head.answer()
        let release = actions.firstIndex(of: .releaseSampler(sequence(0)))
        let configure = actions.firstIndex(of: .configureSampler(sequence(0), SamplingParameters(), SamplerHistory()))
        #expect(try #require(release) < #require(configure))
        #expect(head.sent.map(\.shape) == ["0:0 0:1!"])
        #expect(head.sent.first?.kvOperations == [.removeAll(sequence(0))])
    }

    @Test("a cancelled sequence is not given away before what mentions it has come back")
    func cancelWaitsForMentions() throws {
        var head = HeadFixture {
            $0.sequenceCountMax = 1
            $0.promptChunkTokenCountMax = 2
        }
        try head.submit(1, promptTokenCount: 4)
        try head.submit(2, promptTokenCount: 1)
        let actions = head.perform { $0.cancel(RequestID(rawValue: 1), now: $1) }
        #expect(actions.count == 1 && head.end(of: 1) == "cancelled")
        #expect(head.answer() == [])
        #expect(head.scheduler.queuedRequestCount == 1)
        // The last mention: its output is dropped, the sampler goes, the next request comes.
        let last = head.answer()
        #expect(last.first == .releaseSampler(sequence(0)))
        #expect(head.sent.map(\.shape) == ["0:0!"])
        #expect(head.sent.first?.kvOperations == [.removeAll(sequence(0))])
        #expect(head.events(of: 1).count == 2)
    }

    @Test("a queued request can be cancelled; an unknown one is a race")
    func cancelsQueued() throws {
        var head = HeadFixture { $0.sequenceCountMax = 1 }
        try head.submit(1, promptTokenCount: 1)
        try head.submit(2, promptTokenCount: 1)
        head.perform { $0.cancel(RequestID(rawValue: 2), now: $1) }
        #expect(head.end(of: 2) == "cancelled" && head.scheduler.queuedRequestCount == 0)
        #expect(head.perform { $0.cancel(RequestID(rawValue: 2), now: $1) } == [])
    }
}

@Suite("Failures of the pipeline under the head")
struct HeadFailureTests {
    private let gone = ShoalError(.engineLost, "gone")

    @Test("a failed micro-batch ends the requests in it, removes their cells, and leaves the others alone")
    func batchFails() throws {
        var head = HeadFixture()
        try head.submit(1, promptTokenCount: 1)
        try head.submit(2, promptTokenCount: 1)
        head.fail()
        #expect(head.end(of: 1) == "internal" && head.end(of: 2) == nil)
        head.answer()
        #expect(head.sent.first?.kvOperations == [.removeAll(sequence(0))])
        #expect(head.sent.first?.shape == "1:1!")
    }

    @Test("cells that a failed micro-batch changed are removed, by an empty micro-batch when nothing else is due")
    func removesSpoiled() throws {
        var head = HeadFixture()
        try head.submit(1, promptTokenCount: 1)
        #expect(head.fail().contains(.releaseSampler(sequence(0))))
        #expect(head.end(of: 1) == "internal")
        #expect(head.scheduler.cachedSequences.isEmpty)
        #expect(head.sent.map(\.entries.count) == [0])
        #expect(head.sent.first?.kvOperations == [.removeAll(sequence(0))])
        // The removal itself failed: it is sent again, and ends whoever has begun with the sequence by then.
        try head.submit(2, promptTokenCount: 1)
        head.fail()
        #expect(head.end(of: 2) == "internal")
        head.answer()
        #expect(head.sent.map(\.kvOperations) == [[.removeAll(sequence(0))]])
    }

    @Test("what copied from spoiled cells fails with them; what copied before goes on")
    func spoilsCopies() throws {
        var head = HeadFixture {
            $0.microBatchesInFlightMax = 4
            $0.stageCount = 4
            $0.promptChunkTokenCountMax = 4
        }
        let prompt = (0..<12).map { TokenID(rawValue: $0) }
        try head.submit(1, prompt)
        try head.submit(2, prompt)
        #expect(head.sent.map(\.shape) == ["0:0 0:1 0:2 0:3", "0:4 0:5 0:6 0:7", "0:8 0:9 0:10 0:11!", "1:11!"])
        #expect(
            head.sent[3].kvOperations == [.copy(source: sequence(0), destination: sequence(1), from: 0, to: 11)])
        head.answer()
        head.fail()
        #expect(head.end(of: 1) == "internal" && head.end(of: 2) == "internal")
    }

    @Test("a pipeline that fails everything is broken")
    func everythingFails() throws {
        var head = HeadFixture {
            $0.microBatchesInFlightMax = 1
            $0.failedRoundCountMax = 2
        }
        for id: UInt64 in 1...3 { try head.submit(id, promptTokenCount: 1) }
        head.fail(gone)
        #expect(!head.fail(gone).contains(.pipelineBroken(gone)))
        #expect(head.fail(gone).last == .pipelineBroken(gone))
        #expect(head.scheduler.runningRequestCount == 0)
    }

    @Test("a lost pipeline pauses its answers, which go on with all their tokens when it was rebuilt")
    func losesPipeline() throws {
        var head = HeadFixture {
            $0.sequenceCountMax = 1
            $0.lossProgressTokenCount = 1
        }
        try head.submit(1, promptTokenCount: 2)
        try head.submit(2, promptTokenCount: 1)
        head.answer("a")
        head.answer("b")
        #expect(head.perform { scheduler, _ in scheduler.pipelineLost(gone) } == [])
        #expect(head.scheduler.runningRequestCount == 1 && head.scheduler.queuedRequestCount == 1)
        let actions = head.perform { $0.pipelineReady(generation: 2, now: $1) }
        let token = TokenID(rawValue: 100)
        #expect(
            actions.first
                == .configureSampler(sequence(0), SamplingParameters(), SamplerHistory(output: [token, token])))
        #expect(head.sent.last?.shape == "0:0 0:1 0:2 0:3!")
        #expect(head.sent.last?.number == 0 && head.sent.last?.kvOperations == [])
        // The old generation's answer to micro-batch 0 is not the new one's.
        #expect(head.answer() == [])
        #expect(head.events(of: 1).map(text).joined() == "ab")
        head.generation = 2
        head.answer("c")
        #expect(head.events(of: 1).map(text).joined() == "abc")
        #expect(head.scheduler.counters.resumedRequestCount == 1)
    }

    @Test("a request under which pipelines are lost again and again fails, the others go on")
    func givesUpOnCulprit() throws {
        var head = HeadFixture { $0.lossCountMax = 2 }
        try head.submit(1, promptTokenCount: 2)
        for loss: UInt32 in 1...3 {
            if loss == 3 { try head.submit(2, promptTokenCount: 1) }
            head.perform { scheduler, _ in scheduler.pipelineLost(gone) }
            head.perform { $0.pipelineReady(generation: loss + 1, now: $1) }
        }
        #expect(head.end(of: 1) == "engine_lost" && head.end(of: 2) == nil)
        #expect(head.scheduler.runningRequestCount == 1)
    }

    @Test("a request can be cancelled while there is no pipeline")
    func cancelsWithoutPipeline() throws {
        var head = HeadFixture()
        try head.submit(1, promptTokenCount: 2)
        head.perform { scheduler, _ in scheduler.pipelineLost(gone) }
        #expect(head.perform { $0.cancel(RequestID(rawValue: 1), now: $1) }.count == 1)
        #expect(head.end(of: 1) == "cancelled" && head.scheduler.sequencesInUse.isEmpty)
        #expect(head.perform { $0.pipelineReady(generation: 2, now: $1) } == [])
    }

    @Test("an answer whose head is lost goes on in another one, behind the tokens that its reader was told of")
    func goesOnElsewhere() throws {
        var lost = HeadFixture()
        try lost.submit(1, promptTokenCount: 2, outputTokenCountMax: 9, stopSequences: ["END"])
        // What may begin the stop sequence is not told yet.
        for piece in ["a", "bE", "N"] { lost.answer(piece) }
        lost.perform { scheduler, _ in scheduler.stop(gone) }
        #expect(lost.end(of: 1) == "lost" && lost.events(of: 1).map(text).joined() == "ab")
        let told = lost.events(of: 1).flatMap(tokens)
        #expect(told.count == 2)

        var request = TokenizedRequest(
            id: RequestID(rawValue: 1), promptTokens: [TokenID(rawValue: 7), TokenID(rawValue: 8)],
            stopSequences: ["END"], outputTokenCountMax: 9)
        request.answerSoFar = zip(told, ["a", "bE"]).map { .init(token: $0, piece: Array($1.utf8)) }
        var next = HeadFixture()
        try next.perform { try $0.submit(request, now: $1) }
        #expect(
            next.actions.contains(
                .configureSampler(sequence(0), SamplingParameters(), SamplerHistory(output: told))))
        #expect(next.sent.last?.shape == "0:0 0:1 0:2 0:3!")
        next.answer("N")
        next.answer("X")
        #expect(next.events(of: 1).map(text).joined() == "ENX")
        next.answer("END")
        #expect(next.end(of: 1) == "stop" && next.events(of: 1).map(text).joined() == "ENX")
        guard case .finished(_, let usage) = next.events(of: 1).last else { return }
        #expect(usage.promptTokenCount == 2 && usage.outputTokenCount == 5)
    }

    @Test("an answer that is longer than its request allows does not go on")
    func hasNoRoom() throws {
        var request = TokenizedRequest(
            id: RequestID(rawValue: 1), promptTokens: [TokenID(rawValue: 7)], outputTokenCountMax: 2)
        request.answerSoFar = [8, 9].map { .init(token: TokenID(rawValue: $0), piece: []) }
        let error = #expect(throws: ShoalError.self) {
            var head = HeadFixture()
            try head.perform { try $0.submit(request, now: $1) }
        }
        #expect(error?.code == .contextOverflow)
    }

    private func tokens(_ event: GenerationEvent) -> [TokenID] {
        if case .text(_, let tokens) = event { tokens } else { [] }
    }

    private func text(_ event: GenerationEvent) -> String {
        if case .text(let text, _) = event { text } else { "" }
    }

    @Test("outputs nobody waits for are dropped, outputs nobody can have asked for break the pipeline")
    func foreignOutputs() throws {
        let token = SampledToken(
            sequence: sequence(0), token: TokenID(rawValue: 1), piece: [], isEndOfGeneration: false)
        var head = HeadFixture()
        try head.submit(1, promptTokenCount: 1)
        head.answer()
        let twice = head.perform {
            $0.outputsArrived(batchNumber: 0, generation: 1, tokens: [token], now: $1)
        }
        let old = head.perform { $0.outputsArrived(batchNumber: 99, generation: 0, tokens: [token], now: $1) }
        #expect(twice == [] && old == [])
        for (number, tokens) in [(UInt64(99), [token]), (1, []), (1, [token, token])] {
            var broken = head
            let actions = broken.perform {
                $0.outputsArrived(batchNumber: number, generation: 1, tokens: tokens, now: $1)
            }
            guard case .pipelineBroken(let error) = actions.last else {
                Issue.record("\(number) with \(tokens.count) tokens: \(actions)")
                continue
            }
            #expect(error.code == .protocolViolation)
            #expect(broken.end(of: 1) == nil)
            #expect(broken.perform { $0.outputsArrived(batchNumber: 1, generation: 1, tokens: [], now: $1) } == [])
        }
        let failed = head.perform { $0.batchFailed(batchNumber: 99, generation: 1, error: gone, now: $1) }
        #expect(failed.contains { if case .pipelineBroken = $0 { true } else { false } })
    }

    @Test("an output for another sequence than was asked for breaks the pipeline")
    func wrongSequence() throws {
        var head = HeadFixture()
        try head.submit(1, promptTokenCount: 1)
        let token = SampledToken(
            sequence: sequence(3), token: TokenID(rawValue: 1), piece: [], isEndOfGeneration: false)
        let actions = head.perform { $0.outputsArrived(batchNumber: 0, generation: 1, tokens: [token], now: $1) }
        guard case .pipelineBroken(let error) = actions.last else {
            Issue.record("\(actions)")
            return
        }
        #expect(error.code == .protocolViolation)
    }
}
