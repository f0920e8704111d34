import ShoalCore
import ShoalScheduling
import Testing

@Suite("Prompts that begin alike")
struct HeadPrefixTests {
    private static func tokens(_ range: Range<Int32>) -> [TokenID] { range.map(TokenID.init(rawValue:)) }

    private func head(_ change: (inout HeadSchedulerConfiguration) -> Void = { _ in }) -> HeadFixture {
        HeadFixture {
            $0.promptChunkTokenCountMax = 16
            change(&$0)
        }
    }

    private func reused(_ head: HeadFixture, _ id: UInt64) -> Int? {
        guard case .finished(_, let usage) = head.events(of: id).last else { return nil }
        return usage.reusedTokenCount
    }

    @Test("the next turn of a conversation goes on where the last one ended, in its sequence")
    func conversation() throws {
        var head = head()
        try head.submit(1, Self.tokens(0..<8), outputTokenCountMax: 3)
        for _ in 0..<3 { head.answer() }
        // The prompt, two answered tokens that were decoded, and the new message.
        let prompt = Self.tokens(0..<8) + Array(repeating: TokenID(rawValue: 100), count: 3) + Self.tokens(20..<24)
        try head.submit(2, prompt, outputTokenCountMax: 1)
        #expect(head.sent.map(\.shape) == ["0:10 0:11 0:12 0:13 0:14!"])
        #expect(head.sent.first?.kvOperations == [])
        head.answer()
        #expect(reused(head, 2) == 10)
        #expect(head.scheduler.counters.reusedTokenCount == 10)
    }

    @Test("what the kept sequence holds beyond the shared part is removed first")
    func cutsBack() throws {
        var head = head()
        try head.submit(1, Self.tokens(0..<8), outputTokenCountMax: 1)
        head.answer()
        try head.submit(2, Self.tokens(0..<6) + Self.tokens(30..<33), outputTokenCountMax: 1)
        #expect(head.sent.map(\.shape) == ["0:6 0:7 0:8!"])
        #expect(head.sent.first?.kvOperations == [.remove(sequence(0), from: 6, to: .max)])
    }

    @Test("the same prompt again computes its last token only")
    func samePrompt() throws {
        var head = head()
        try head.submit(1, Self.tokens(0..<8), outputTokenCountMax: 1)
        head.answer()
        try head.submit(2, Self.tokens(0..<8), outputTokenCountMax: 1)
        #expect(head.sent.map(\.shape) == ["0:7!"])
        #expect(head.sent.first?.kvOperations == [.remove(sequence(0), from: 7, to: .max)])
    }

    @Test("a small part of a long sequence is copied, so that the long one stays")
    func copiesFromLong() throws {
        var head = head()
        try head.submit(1, Self.tokens(0..<20), outputTokenCountMax: 1)
        head.answer()
        head.answer()
        try head.submit(2, Self.tokens(0..<5) + Self.tokens(40..<42), outputTokenCountMax: 1)
        #expect(head.sent.map(\.shape) == ["1:5 1:6!"])
        #expect(
            head.sent.first?.kvOperations == [.copy(source: sequence(0), destination: sequence(1), from: 0, to: 5)])
        head.answer()
        #expect(head.scheduler.cachedSequences == [sequence(0), sequence(1)])
    }

    @Test("a prompt copies from a running sequence, and waits while that is still sending what both need")
    func copiesFromRunning() throws {
        var head = head {
            $0.promptChunkTokenCountMax = 4
            $0.microBatchesInFlightMax = 1
        }
        try head.submit(1, Self.tokens(0..<10))
        try head.submit(2, Self.tokens(0..<8) + Self.tokens(50..<52), outputTokenCountMax: 1)
        head.answer()
        try head.submit(3, Self.tokens(60..<64), outputTokenCountMax: 1)
        #expect(head.sent.map(\.shape) == ["0:4 0:5 0:6 0:7"])
        head.answer()
        // The second has all that it shares.
        #expect(head.sent.map(\.shape) == ["1:8 1:9! 0:8 0:9!"])
        #expect(
            head.sent.first?.kvOperations == [.copy(source: sequence(0), destination: sequence(1), from: 0, to: 8)])
        head.answer()
        #expect(reused(head, 2) == 8)
    }

    @Test("who waits for a prompt that is cancelled starts with what was sent of it")
    func waitsForCancelled() throws {
        var head = head {
            $0.promptChunkTokenCountMax = 4
            $0.microBatchesInFlightMax = 1
        }
        try head.submit(1, Self.tokens(0..<10))
        try head.submit(2, Self.tokens(0..<10), outputTokenCountMax: 1)
        head.perform { $0.cancel(RequestID(rawValue: 1), now: $1) }
        head.answer()
        #expect(head.sent.map(\.shape) == ["1:4 1:5 1:6 1:7"])
        #expect(
            head.sent.first?.kvOperations == [.copy(source: sequence(0), destination: sequence(1), from: 0, to: 4)])
    }

    @Test("fewer shared tokens than are worth it are computed again")
    func tooFew() throws {
        var head = head { $0.reusedTokenCountMin = 6 }
        try head.submit(1, Self.tokens(0..<8), outputTokenCountMax: 1)
        head.answer()
        try head.submit(2, Self.tokens(0..<5) + Self.tokens(40..<42), outputTokenCountMax: 1)
        #expect(head.sent.map(\.shape) == ["1:0 1:1 1:2 1:3 1:4 1:5 1:6!"])
    }

    @Test("recurrent sequences are continued and copied as a whole, never cut")
    func recurrent() throws {
        var head = head { $0.canRemovePartialSequences = false }
        try head.submit(1, Self.tokens(0..<8), outputTokenCountMax: 1)
        head.answer()
        // Shares less than the whole: a sequence that holds nothing is taken.
        try head.submit(2, Self.tokens(0..<6) + Self.tokens(30..<33), outputTokenCountMax: 1)
        #expect(head.sent.map(\.kvOperations) == [[]])
        #expect(head.sent.first?.entries.first?.position == 0)
        head.answer()
        try head.submit(3, Self.tokens(0..<9), outputTokenCountMax: 1)
        #expect(head.sent.map(\.shape) == ["0:8!"])
    }

    @Test("the sequence that was not used for the longest time is taken when all hold something")
    func leastRecentlyUsed() throws {
        var head = head { $0.sequenceCountMax = 2 }
        for id: UInt64 in 1...2 {
            head.now = .seconds(Int64(id))
            try head.submit(id, promptTokenCount: 8, outputTokenCountMax: 1)
            head.answer()
        }
        head.now = .seconds(3)
        try head.submit(1, promptTokenCount: 8, outputTokenCountMax: 1)
        #expect(head.sent.map(\.shape) == ["0:7!"])
        head.answer()
        head.now = .seconds(4)
        try head.submit(9, promptTokenCount: 8, outputTokenCountMax: 1)
        #expect(head.sent.first?.kvOperations == [.removeAll(sequence(1))])
    }

    @Test("kept cells are given up, longest unused first, when requests need them")
    func givesUpCells() throws {
        var head = head {
            $0.kvTokenCapacity = 40
            $0.sequenceCountMax = 4
        }
        for id: UInt64 in 1...3 {
            head.now = .seconds(Int64(id))
            try head.submit(id, promptTokenCount: 10, outputTokenCountMax: 1)
            head.answer()
        }
        #expect(head.scheduler.cachedSequences.count == 3)
        try head.submit(4, promptTokenCount: 10, outputTokenCountMax: 10)
        #expect(head.sent.first?.kvOperations == [.removeAll(sequence(0))])
        #expect(head.scheduler.cachedSequences == [sequence(1), sequence(2)])
    }

    @Test("a rebuilt pipeline holds no prefixes")
    func forgetsWithPipeline() throws {
        var head = head()
        try head.submit(1, Self.tokens(0..<8), outputTokenCountMax: 1)
        head.answer()
        head.perform { scheduler, _ in scheduler.pipelineLost(ShoalError(.engineLost, "gone")) }
        head.perform { $0.pipelineReady(generation: 2, now: $1) }
        try head.submit(2, Self.tokens(0..<8), outputTokenCountMax: 1)
        #expect(head.sent.first?.entries.count == 8)
    }
}
