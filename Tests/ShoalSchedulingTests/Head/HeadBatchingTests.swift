import ShoalCore
import ShoalScheduling
import Testing

@Suite("Micro-batches of the head")
struct HeadBatchingTests {
    @Test("chunks of one prompt follow each other without waiting, up to the micro-batches allowed")
    func chunksPrompts() throws {
        var head = HeadFixture { $0.promptChunkTokenCountMax = 2 }
        try head.submit(1, promptTokenCount: 5)
        #expect(head.sent.map(\.shape) == ["0:0 0:1", "0:2 0:3"])
        #expect(head.sent.map(\.number) == [0, 1])
        head.answer()
        #expect(head.sent.map(\.shape) == ["0:2 0:3", "0:4!"])
    }

    @Test("decode tokens come first and go on while a long prompt comes in")
    func mixes() throws {
        var head = HeadFixture {
            $0.promptChunkTokenCountMax = 3
            $0.microBatchesInFlightMax = 1
        }
        try head.submit(1, promptTokenCount: 1)
        try head.submit(2, promptTokenCount: 7)
        head.answer()
        #expect(head.sent.map(\.shape) == ["0:1! 1:0 1:1 1:2"])
        head.answer()
        #expect(head.sent.map(\.shape) == ["0:2! 1:3 1:4 1:5"])
        head.answer()
        #expect(head.sent.map(\.shape) == ["0:3! 1:6!"])
    }

    @Test("prompts take turns")
    func promptsTakeTurns() throws {
        var head = HeadFixture {
            $0.promptChunkTokenCountMax = 4
            $0.microBatchesInFlightMax = 1
        }
        try head.submit(1, promptTokenCount: 10)
        try head.submit(2, promptTokenCount: 3)
        try head.submit(3, promptTokenCount: 5)
        var shapes: [String] = []
        for _ in 0..<4 {
            shapes.append(head.sent.first?.shape ?? "")
            head.answer()
        }
        // The first was alone when its first chunk went, so its second turn comes before the newcomers' first.
        #expect(
            shapes == [
                "0:0 0:1 0:2 0:3", "0:4 0:5 0:6 0:7", "1:0 1:1 1:2! 2:0", "1:3! 0:8 0:9! 2:1 2:2",
            ])
    }

    @Test("decoding sequences split into as many groups as micro-batches may be under way")
    func groups() throws {
        var head = HeadFixture { $0.microBatchesInFlightMax = 2 }
        for id: UInt64 in 1...4 { try head.submit(id, promptTokenCount: 1) }
        for _ in 0..<4 { head.answer() }
        var shapes: Set<Int> = []
        for _ in 0..<10 {
            head.answer()
            shapes.formUnion(head.sent.map(\.entries.count))
            #expect(head.sent.count == 2)
            #expect(Set(head.sent.flatMap { $0.entries.map(\.sequence) }).count == 4)
        }
        #expect(shapes == [2])
    }

    @Test("a slow reader pauses its own sequence only, and goes on when it has read")
    func slowReader() throws {
        var head = HeadFixture {
            $0.unacknowledgedTokenCountMax = 2
            $0.microBatchesInFlightMax = 1
        }
        try head.submit(1, promptTokenCount: 1)
        try head.submit(2, promptTokenCount: 1)
        for _ in 0..<12 {
            head.perform { $0.consumed(RequestID(rawValue: 2), tokenCount: 1, now: $1) }
            head.answer()
        }
        #expect(head.events(of: 1).count == 3)
        #expect(head.events(of: 2).count > 8)
        // More than was told is taken as everything.
        head.perform { $0.consumed(RequestID(rawValue: 1), tokenCount: .max, now: $1) }
        head.answer()
        head.answer()
        #expect(head.events(of: 1).count == 4)
        #expect(head.perform { $0.consumed(RequestID(rawValue: 9), tokenCount: 1, now: $1) } == [])
        #expect(head.perform { $0.consumed(RequestID(rawValue: 1), tokenCount: -1, now: $1) } == [])
    }

    @Test("usage is made of the times given")
    func usage() throws {
        var head = HeadFixture { $0.sequenceCountMax = 1 }
        try head.submit(1, promptTokenCount: 1, outputTokenCountMax: 1)
        try head.submit(2, promptTokenCount: 3, outputTokenCountMax: 3)
        head.now = .seconds(2)
        head.answer()
        head.now = .seconds(3)
        head.answer()
        head.now = .seconds(5)
        head.answer()
        head.now = .seconds(9)
        head.answer()
        guard case .finished(.length, let usage) = head.events(of: 2).last else {
            Issue.record("\(head.events(of: 2))")
            return
        }
        #expect(
            usage
                == GenerationUsage(
                    promptTokenCount: 3, outputTokenCount: 3, reusedTokenCount: 0, queueSeconds: 2, prefillSeconds: 1,
                    decodeSeconds: 6))
    }

    @Test("work under way is dated by the oldest micro-batch")
    func datesWork() throws {
        var head = HeadFixture()
        #expect(head.scheduler.workInFlightSince == nil)
        head.now = .seconds(3)
        try head.submit(1, promptTokenCount: 1)
        head.now = .seconds(4)
        try head.submit(2, promptTokenCount: 1)
        #expect(head.scheduler.workInFlightSince == .seconds(3))
        head.answer()
        #expect(head.scheduler.workInFlightSince == .seconds(4))
    }
}
