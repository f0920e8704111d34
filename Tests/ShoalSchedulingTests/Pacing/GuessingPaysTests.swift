import ShoalCore
import ShoalScheduling
import Testing

@Suite("Guesses save time or are not sent")
struct GuessingPaysTests {
    private static let half = TimedPipeline.StageTimes(fixed: 0.004, perToken: 0.009)

    private func pipeline(
        _ speculation: SpeculationMode, linkSeconds: Double, count: Int = 1, until end: Double = 20,
        text: @escaping (Int32) -> Int32
    ) throws -> TimedPipeline {
        var pipeline = TimedPipeline(
            stages: [Self.half, Self.half], linkSeconds: linkSeconds, sequenceCount: count, speculation: speculation,
            text: text)
        for id in 0..<UInt64(count) { try pipeline.submit(id, promptTokenCount: 8, outputTokenCount: 8000) }
        pipeline.run(until: end)
        return pipeline
    }

    @Test("over 20 ms links, repeated text comes at least 2.5 times as fast with guesses")
    func slowLink() throws {
        let plain = try pipeline(.off, linkSeconds: 0.02) { $0 % 40 }
        let guessed = try pipeline(.auto, linkSeconds: 0.02) { $0 % 40 }
        let ratio = guessed.tokensPerSecond(since: 8) / plain.tokensPerSecond(since: 8)
        #expect(ratio >= 2.5, "\(ratio)")
    }

    @Test("guesses that are mostly wrong are not sent for long", arguments: [0.0, 0.02])
    func poorGuesses(linkSeconds: Double) throws {
        // Runs of three that repeat, followed by something new each time.
        let text: (Int32) -> Int32 = { $0 % 4 == 3 ? 100 + $0 : $0 % 4 }
        let plain = try pipeline(.off, linkSeconds: linkSeconds, text: text)
        let guessed = try pipeline(.auto, linkSeconds: linkSeconds, text: text)
        let ratio = guessed.tokensPerSecond(since: 8) / plain.tokensPerSecond(since: 8)
        #expect(ratio >= 0.97, "\(ratio)")
        let counters = guessed.scheduler.counters
        #expect(counters.draftedTokenCount < counters.outputTokenCount / 5, "\(counters)")
    }

    @Test("where answers fill the pipeline and tokens cost as much in a group as alone, guesses do not slow them")
    func fullPipeline() throws {
        let plain = try pipeline(.off, linkSeconds: 0, count: 8, until: 80) { $0 % 40 }
        let guessed = try pipeline(.auto, linkSeconds: 0, count: 8, until: 80) { $0 % 40 }
        // Micro-batches with many guesses take a second: long enough that one more or less does not matter.
        #expect(guessed.tokensPerSecond(since: 8) >= 0.97 * plain.tokensPerSecond(since: 8))
    }
}
