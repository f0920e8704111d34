import ShoalCore
import ShoalScheduling
import Testing

@Suite("Admission at the head")
struct HeadAdmissionTests {
    private func code(_ work: () throws -> Void) -> ShoalError.Code? {
        #expect(throws: ShoalError.self, performing: work)?.code
    }

    @Test("an admitted request starts, gets a sampler and then its first micro-batch")
    func admits() throws {
        var head = HeadFixture()
        let actions = try head.submit(1, promptTokenCount: 3)
        #expect(
            actions.prefix(2) == [
                .emit(RequestID(rawValue: 1), .started(promptTokenCount: 3, headName: "head")),
                .configureSampler(sequence(0), SamplingParameters(), SamplerHistory()),
            ])
        #expect(head.sent.map(\.shape) == ["0:0 0:1 0:2!"])
        #expect(head.scheduler.sequencesInUse == [sequence(0)])
    }

    @Test("a prompt that leaves no room for a token is refused with the numbers, never cut")
    func refusesLongPrompts() throws {
        var head = HeadFixture()
        let error = #expect(throws: ShoalError.self) { try head.submit(1, promptTokenCount: 32) }
        #expect(error?.code == .contextOverflow)
        #expect(error?.message.contains("32 tokens") == true)
        #expect(head.actions.isEmpty)
        try head.submit(2, promptTokenCount: 31)
        for _ in 0..<4 { head.answer() }
        #expect(head.end(of: 2) == "length")
    }

    @Test("malformed requests are refused and forgotten")
    func refusesMalformed() throws {
        var head = HeadFixture()
        #expect(code { try head.submit(1, promptTokenCount: 0) } == .invalidRequest)
        #expect(code { try head.submit(1, promptTokenCount: 1, outputTokenCountMax: 0) } == .invalidRequest)
        let manyStops = Array(repeating: "a", count: Limits.stopSequenceCountMax + 1)
        #expect(code { try head.submit(1, promptTokenCount: 1, stopSequences: manyStops) } == .invalidRequest)
        let longStop = String(repeating: "a", count: Limits.stopSequenceByteCountMax + 1)
        #expect(code { try head.submit(1, promptTokenCount: 1, stopSequences: [longStop]) } == .invalidRequest)
        try head.submit(1, promptTokenCount: 1)
        #expect(code { try head.submit(1, promptTokenCount: 1) } == .invalidRequest)
    }

    @Test("requests beyond the sequences wait in order; beyond the queue they are refused")
    func queues() throws {
        var head = HeadFixture {
            $0.sequenceCountMax = 1
            $0.queuedRequestCountMax = 2
        }
        for id: UInt64 in 1...3 { try head.submit(id, promptTokenCount: 1, outputTokenCountMax: 1) }
        #expect(head.scheduler.queuedRequestCount == 2)
        #expect(code { try head.submit(4, promptTokenCount: 1) } == .overloaded)
        head.answer()
        #expect(head.end(of: 1) == "length")
        #expect(head.scheduler.queuedRequestCount == 1)
        head.answer()
        #expect(head.end(of: 2) == "length" && head.end(of: 3) == nil)
    }

    @Test("cells are reserved before admission; a large request waits and is not overtaken")
    func reservesCells() throws {
        var head = HeadFixture { $0.kvTokenCapacity = 40 }
        try head.submit(1, promptTokenCount: 10, outputTokenCountMax: 10)
        try head.submit(2, promptTokenCount: 20, outputTokenCountMax: 10)
        try head.submit(3, promptTokenCount: 1, outputTokenCountMax: 1)
        #expect(head.scheduler.reservedCellCount == 20)
        #expect(head.scheduler.queuedRequestCount == 2)
        head.perform { $0.cancel(RequestID(rawValue: 1), now: $1) }
        while head.scheduler.queuedRequestCount == 2, !head.sent.isEmpty { head.answer() }
        #expect(head.scheduler.reservedCellCount == 32)
    }

    @Test("before the pipeline is ready requests wait, and are sent when it is")
    func waitsForPipeline() throws {
        var head = HeadFixture(isReady: false)
        try head.submit(1, promptTokenCount: 2)
        #expect(head.sent.isEmpty && head.scheduler.queuedRequestCount == 1)
        head.perform { $0.pipelineReady(generation: 1, now: $1) }
        #expect(head.sent.map(\.shape) == ["0:0 0:1!"])
    }

    @Test("a draining head refuses new requests, finishes the old ones, and says so once")
    func drains() throws {
        var head = HeadFixture()
        try head.submit(1, promptTokenCount: 1, outputTokenCountMax: 1)
        #expect(head.perform { scheduler, _ in scheduler.drain() } == [])
        #expect(code { try head.submit(2, promptTokenCount: 1) } == .unavailable)
        #expect(head.answer().contains(.drained))
        #expect(!head.answer().contains(.drained))
        #expect(head.perform { scheduler, _ in scheduler.drain() } == [])
    }

    @Test("a draining head whose pipeline is lost is drained: no other will come")
    func losesPipelineWhileDraining() throws {
        var head = HeadFixture { $0.sequenceCountMax = 1 }
        try head.submit(1, promptTokenCount: 1)
        try head.submit(2, promptTokenCount: 1)
        head.perform { scheduler, _ in scheduler.drain() }
        let error = ShoalError(.engineLost, "gone")
        #expect(head.perform { scheduler, _ in scheduler.pipelineLost(error) }.last == .drained)
        #expect(head.end(of: 1) == "lost" && head.end(of: 2) == "lost")
    }

    @Test("a stopped head ends everything with the reason and refuses the rest with it")
    func stops() throws {
        var head = HeadFixture { $0.sequenceCountMax = 1 }
        try head.submit(1, promptTokenCount: 1)
        try head.submit(2, promptTokenCount: 1)
        let reason = ShoalError(.unavailable, "stopped by the test")
        head.perform { scheduler, _ in scheduler.stop(reason) }
        #expect(head.events(of: 1).last == .lost(reason) && head.events(of: 2).last == .lost(reason))
        #expect(#expect(throws: ShoalError.self) { try head.submit(3, promptTokenCount: 1) } == reason)
        #expect(head.perform { $0.pipelineReady(generation: 2, now: $1) } == [])
        #expect(head.perform { scheduler, _ in scheduler.pipelineLost(reason) } == [])
        #expect(head.answer() == [])
    }
}
