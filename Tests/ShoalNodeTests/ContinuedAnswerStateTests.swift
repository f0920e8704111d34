import ShoalCore
import Synchronization
import Testing

@testable import ShoalNode

@Suite("One answer over several instances")
struct ContinuedAnswerStateTests {
    private let gone = ShoalError(.linkLost, "the head is gone")

    @Test("the next instance is asked for the same request with what was told; its reader hears one answer")
    func goesOn() async throws {
        let fixture = Fixture(temperature: 1)
        let first = fixture.answer.request
        #expect(first.answerSoFar == nil && first.sampling.seed != nil && fixture.answer.model == "tiny")
        try fixture.runs()
        fixture.tells(0..<3)
        fixture.answer.take(.lost(gone))
        #expect(fixture.lossCount == 1)
        let second = fixture.answer.request
        #expect(second.id == first.id && second.model == first.model)
        #expect(second.sampling == first.sampling, "the draws go on")
        #expect(second.answerSoFar == (0..<3).map(TokenID.init(rawValue:)))
        try fixture.runs()
        fixture.answer.consumed(2)
        #expect(fixture.consumedCount == 2)
        fixture.tells(3..<5)
        var usage = GenerationUsage(
            promptTokenCount: 3, outputTokenCount: 5, reusedTokenCount: 0, queueSeconds: 0, prefillSeconds: 0,
            decodeSeconds: 0)
        fixture.answer.take(.finished(.stop, usage))
        let told = await fixture.told()
        #expect(told.count == 4 && told.first == .started(promptTokenCount: 3, headName: "a"))
        guard case .finished(.stop, let whole) = told.last else {
            Issue.record("it ended with \(told)")
            return
        }
        #expect(whole.decodeSeconds > 0, "from its first text to its end, pause included")
        usage.decodeSeconds = whole.decodeSeconds
        usage.prefillSeconds = whole.prefillSeconds
        #expect(whole == usage)
    }

    @Test("an answer under which instances are lost again and again without progress ends with the cause")
    func givesUp() async throws {
        let fixture = Fixture()
        for loss: Int32 in 0..<5 {
            try fixture.runs()
            // Progress twice, then none.
            if loss < 2 { fixture.tells(loss * 20..<loss * 20 + 20) }
            fixture.answer.take(.lost(gone))
        }
        #expect(fixture.lossCount == 4, "the fifth is the fourth without progress")
        #expect(await fixture.told().last == .failed(gone))
        #expect(fixture.answer.hasEnded)
    }

    @Test("who asks an instance that is lost meanwhile learns it, and nobody else looks for another one")
    func lostWhileAsked() throws {
        let fixture = Fixture()
        #expect(fixture.answer.asks(fixture.place))
        fixture.answer.take(.lost(gone))
        #expect(throws: gone) { try fixture.answer.wasTaken() }
        fixture.answer.wasRefused()
        fixture.answer.take(.lost(gone))
        #expect(fixture.lossCount == 0 && !fixture.answer.hasEnded)
        try fixture.runs()
    }

    @Test("a reader that leaves cancels once, wherever the answer is, and nothing is asked or told afterwards")
    func leaves() throws {
        let running = Fixture()
        try running.runs()
        running.answer.cancel()
        running.answer.cancel()
        #expect(running.cancelCount == 1 && running.answer.hasEnded)
        let waiting = Fixture()
        try waiting.runs()
        waiting.answer.take(.lost(gone))
        waiting.answer.cancel()
        #expect(waiting.cancelCount == 0 && !waiting.answer.asks(waiting.place))
        waiting.answer.take(.lost(gone))
        #expect(waiting.lossCount == 1)
    }

    /// An answer, what its reader hears, and how often it was handed on.
    private final class Fixture: Sendable {
        let answer: ContinuedAnswer
        private let events: AsyncStream<GenerationEvent>
        private let counts: Counts

        private final class Counts: Sendable {
            let values = Mutex((losses: 0, cancels: 0, consumed: 0))
        }

        init(temperature: Float = 0) {
            var request = GenerationRequest(id: RequestID(rawValue: 1), model: "77", input: .text("hello"))
            request.sampling.temperature = temperature
            let (events, reader) = AsyncStream.makeStream(of: GenerationEvent.self)
            let counts = Counts()
            self.events = events
            self.counts = counts
            answer = ContinuedAnswer(request, by: "tiny", reader: reader) { _, _ in
                counts.values.withLock { $0.losses += 1 }
            }
        }

        var lossCount: Int { counts.values.withLock(\.losses) }
        var cancelCount: Int { counts.values.withLock(\.cancels) }
        var consumedCount: Int { counts.values.withLock(\.consumed) }

        var place: ContinuedAnswer.Place {
            ContinuedAnswer.Place(
                consumed: { [counts] count in counts.values.withLock { $0.consumed += count } },
                cancel: { [counts] in counts.values.withLock { $0.cancels += 1 } })
        }

        /// An instance is asked, begins, and takes it.
        func runs() throws {
            try #require(answer.asks(place))
            answer.take(.started(promptTokenCount: 3, headName: "a"))
            try answer.wasTaken()
        }

        func tells(_ tokens: Range<Int32>) {
            answer.take(.text("x", tokens: tokens.map(TokenID.init(rawValue:))))
        }

        /// Everything, once the answer has ended.
        func told() async -> [GenerationEvent] { await events.reduce(into: []) { $0.append($1) } }
    }
}
