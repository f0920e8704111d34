import ShoalCore
import ShoalScheduling
import Testing

@Suite("A draft model saves time or rests")
struct DraftModelPaysTests {
    private static let half = TimedPipeline.StageTimes(fixed: 0.004, perToken: 0.009)
    private static let gpu = TimedPipeline.StageTimes(fixed: 0.010, perToken: 0.0002)
    private static let small = TimedPipeline.StageTimes(fixed: 0.001, perToken: 0.002)

    private func pipeline(
        stages: [TimedPipeline.StageTimes] = [half, half], _ draft: TimedPipeline.Draft?, linkSeconds: Double,
        count: Int = 1, speculation: SpeculationMode = .auto, until seconds: Double = 30,
        text: @escaping (Int32) -> Int32 = { $0 }
    ) throws -> TimedPipeline {
        var pipeline = TimedPipeline(
            stages: stages, linkSeconds: linkSeconds, sequenceCount: count, speculation: speculation, draft: draft,
            text: text)
        for id in 0..<UInt64(count) {
            try pipeline.submit(id, promptTokenCount: count > 1 ? 16 : 200, outputTokenCount: 7900)
        }
        pipeline.run(until: seconds)
        #expect(pipeline.draftModel.violations.isEmpty, "\(pipeline.draftModel.violations.prefix(3))")
        return pipeline
    }

    /// Tokens per second with the draft model, in those without.
    private func ratio(_ drafted: TimedPipeline, _ plain: TimedPipeline) -> Double {
        drafted.tokensPerSecond(since: 10) / plain.tokensPerSecond(since: 10)
    }

    @Test(
        "over 20 ms links a draft model saves the more the more often it is right",
        arguments: [(80, 2.4), (95, 3.5), (50, 1.4)])
    func slowLink(rightPercent: Int, least: Double) throws {
        let plain = try pipeline(nil, linkSeconds: 0.02)
        let drafted = try pipeline(
            TimedPipeline.Draft(times: Self.small, rightPercent: rightPercent), linkSeconds: 0.02)
        #expect(ratio(drafted, plain) >= least, "\(ratio(drafted, plain))")
    }

    @Test("where a stage computes several tokens for the price of one, it pays without any link", arguments: [1, 2])
    func cheapGroups(stageCount: Int) throws {
        let stages = Array(repeating: Self.gpu, count: stageCount)
        let plain = try pipeline(stages: stages, nil, linkSeconds: 0)
        let draft = TimedPipeline.Draft(times: Self.small, rightPercent: 80)
        let drafted = try pipeline(stages: stages, draft, linkSeconds: 0)
        #expect(ratio(drafted, plain) >= 1.5, "\(ratio(drafted, plain))")
    }

    @Test("one that is mostly wrong rests", arguments: [0.0, 0.02], [0, 10])
    func poorGuesses(linkSeconds: Double, rightPercent: Int) throws {
        let plain = try pipeline(nil, linkSeconds: linkSeconds)
        let draft = TimedPipeline.Draft(times: Self.small, rightPercent: rightPercent)
        let drafted = try pipeline(draft, linkSeconds: linkSeconds)
        #expect(ratio(drafted, plain) >= 0.97, "\(ratio(drafted, plain))")
        let counters = drafted.scheduler.counters
        #expect(counters.modelDraftedTokenCount < counters.outputTokenCount / 10, "\(counters)")
        // A few trials, none of which computes the answer anew.
        #expect(drafted.draftModel.tokenCount < 200 + 2 * counters.outputTokenCount)
        #expect(drafted.draftModel.batchCount < counters.outputTokenCount / 2)
    }

    @Test("one that takes longer than the model rests", arguments: [0.0, 0.02])
    func slowDraft(linkSeconds: Double) throws {
        let plain = try pipeline(nil, linkSeconds: linkSeconds)
        let slow = TimedPipeline.StageTimes(fixed: 0.01, perToken: 0.2)
        let drafted = try pipeline(TimedPipeline.Draft(times: slow, rightPercent: 90), linkSeconds: linkSeconds)
        #expect(ratio(drafted, plain) >= 0.97, "\(ratio(drafted, plain))")
    }

    @Test("one that answers nothing any more costs nothing")
    func stuckDraft() throws {
        let plain = try pipeline(nil, linkSeconds: 0.02, speculation: .draft)
        var drafted = TimedPipeline(
            stages: [Self.half, Self.half], linkSeconds: 0.02, sequenceCount: 1, speculation: .draft,
            draft: TimedPipeline.Draft(times: Self.small, rightPercent: 80))
        try drafted.submit(0, promptTokenCount: 200, outputTokenCount: 7900)
        drafted.run(until: 5)
        #expect(drafted.scheduler.counters.modelAcceptedTokenCount > 20)
        drafted.isDraftStuck = true
        drafted.run(until: 30)
        #expect(ratio(drafted, plain) >= 0.99, "\(ratio(drafted, plain))")
    }

    @Test("where answers fill the pipeline it does not slow them")
    func fullPipeline() throws {
        let plain = try pipeline(nil, linkSeconds: 0, count: 8)
        let draft = TimedPipeline.Draft(times: Self.small, rightPercent: 80)
        let drafted = try pipeline(draft, linkSeconds: 0, count: 8)
        #expect(ratio(drafted, plain) >= 0.97, "\(ratio(drafted, plain))")
    }

    @Test("it guesses for several answers at once")
    func severalAnswers() throws {
        let plain = try pipeline(nil, linkSeconds: 0.02, count: 2)
        let draft = TimedPipeline.Draft(times: Self.small, rightPercent: 90)
        let drafted = try pipeline(draft, linkSeconds: 0.02, count: 2)
        #expect(ratio(drafted, plain) >= 1.5, "\(ratio(drafted, plain))")
        #expect(
            drafted.tokenTimes.values.allSatisfy { Double($0.count) > 0.4 * 30 * drafted.tokensPerSecond(since: 0) })
    }

    @Test("what the text repeats is looked up, not asked for")
    func lookupFirst() throws {
        let draft = TimedPipeline.Draft(times: Self.small, rightPercent: 80)
        let drafted = try pipeline(draft, linkSeconds: 0.02) { $0 % 40 }
        let counters = drafted.scheduler.counters
        #expect(counters.acceptedTokenCount > counters.outputTokenCount / 2)
        #expect(counters.modelDraftedTokenCount < counters.draftedTokenCount / 5, "\(counters)")
    }

    @Test("a request that wants no draft model gets none", arguments: [SpeculationMode.off, .ngram])
    func notWanted(speculation: SpeculationMode) throws {
        let draft = TimedPipeline.Draft(times: Self.small, rightPercent: 80)
        let drafted = try pipeline(draft, linkSeconds: 0.02, speculation: speculation, until: 5)
        #expect(drafted.draftModel.batchCount == 0)
    }
}
