import ShoalCore
import ShoalScheduling
import Testing

/// Stage times in the proportions that were measured with SmolLM2-135M, one thread per stage: a token of a running
/// answer costs nearly as much in a group as alone, a prompt token a fifth of it.
@Suite("Pipelines are kept full")
struct PipelineFillingTests {
    private static let half = TimedPipeline.StageTimes(fixed: 0.004, perToken: 0.009)

    /// Halves of SmolLM2-135M on one thread each; the second has the output matrix.
    private static let measured = [0.0065, 0.0137, 0.0190, 0.0210, 0.0268, 0.0300, 0.0340, 0.0370]
    private static let first = TimedPipeline.StageTimes(
        fixed: 0.003, perToken: 0.003, measured: measured.map { $0 * 0.7 })
    private static let second = TimedPipeline.StageTimes(fixed: 0.004, perToken: 0.004, measured: measured)

    /// Runs `count` endless answers and returns the pipeline after `seconds`.
    private func decode(
        _ stages: [TimedPipeline.StageTimes], linkSeconds: Double, count: Int, seconds: Double
    ) throws -> TimedPipeline {
        var pipeline = TimedPipeline(stages: stages, linkSeconds: linkSeconds, sequenceCount: count)
        for id in 0..<UInt64(count) { try pipeline.submit(id, promptTokenCount: 8, outputTokenCount: 8000) }
        pipeline.run(until: seconds)
        return pipeline
    }

    @Test("two stages on loopback, eight answers: the slower stage works 95 % of the time", arguments: [1.0, 1.3, 2.0])
    func loopback(slower: Double) throws {
        let slow = TimedPipeline.StageTimes(fixed: 0.004 * slower, perToken: 0.009 * slower)
        for stages in [[Self.half, slow], [slow, Self.half]] {
            let pipeline = try decode(stages, linkSeconds: 0, count: 8, seconds: 30)
            let busiest = stages[0].fixed > stages[1].fixed ? 0 : 1
            let utilisation = pipeline.utilisation(ofStage: busiest, since: 10)
            #expect(utilisation >= 0.95, "\(utilisation)")
        }
    }

    @Test("slow links are filled with more groups than there are stages", arguments: [0.005, 0.02])
    func slowLinks(linkSeconds: Double) throws {
        let pipeline = try decode([Self.half, Self.half], linkSeconds: linkSeconds, count: 8, seconds: 30)
        let utilisation = pipeline.utilisation(ofStage: 1, since: 10)
        #expect(utilisation >= 0.95, "\(utilisation)")
        // As many as half of them at a time would leave both stages idle while the tokens travel.
        #expect(pipeline.inFlightCountMax > 2)
    }

    @Test(
        "sixteen stages, sixty-four answers: the slowest stage works 90 % of the time", arguments: [0.0, 0.001, 0.005])
    func sixteenStages(linkSeconds: Double) throws {
        var stages = (0..<16).map { index in
            TimedPipeline.StageTimes(fixed: 0.002, perToken: 0.0011 + 0.00002 * Double(index % 5))
        }
        stages[7].perToken *= 1.1
        let pipeline = try decode(stages, linkSeconds: linkSeconds, count: 64, seconds: 30)
        let utilisation = pipeline.utilisation(ofStage: 7, since: 10)
        #expect(utilisation >= 0.9, "\(utilisation)")
    }

    @Test("stages whose times vary are kept full as well")
    func variation() throws {
        var uneven = Self.half
        uneven.slowEvery = 7
        var other = Self.half
        other.slowEvery = 5
        let pipeline = try decode([uneven, other], linkSeconds: 0.005, count: 8, seconds: 40)
        let utilisation = pipeline.utilisation(ofStage: 1, since: 10)
        #expect(utilisation >= 0.9, "\(utilisation)")
    }

    @Test(
        "the groups that give most tokens are found, though others would keep the slower stage busier",
        arguments: [(0.005, 165.0), (0.020, 140.0)])
    func mostTokens(linkSeconds: Double, tokensPerSecondMin: Double) throws {
        let pipeline = try decode([Self.first, Self.second], linkSeconds: linkSeconds, count: 8, seconds: 30)
        let rate = pipeline.tokensPerSecond(since: 10)
        #expect(rate >= tokensPerSecondMin, "\(rate)")
    }

    @Test("most of the pace is there two seconds after a load, before anything was known", arguments: [0.005, 0.020])
    func learnsAtOnce(linkSeconds: Double) throws {
        var pipeline = try decode([Self.first, Self.second], linkSeconds: linkSeconds, count: 8, seconds: 2)
        let early = pipeline.tokensPerSecond(since: 0.5)
        pipeline.run(until: 30)
        let late = pipeline.tokensPerSecond(since: 10)
        #expect(early >= 0.9 * late, "\(early) of \(late)")
    }

    @Test("where a group costs little more than one token, groups stay as large as full stages allow")
    func cheapGroups() throws {
        let gpu = TimedPipeline.StageTimes(fixed: 0.010, perToken: 0.0002)
        let pipeline = try decode([gpu, gpu], linkSeconds: 0.005, count: 32, seconds: 20)
        let sizes = pipeline.batchSizes.suffix(200)
        // Two stages and two links are three times one stage: three or four groups, not thirty-two.
        #expect(sizes.allSatisfy { (8...11).contains($0) }, "\(sizes.suffix(12))")
        #expect(pipeline.utilisation(ofStage: 0, since: 10) >= 0.9)
    }

    @Test("one answer waits for nothing but its own way")
    func oneAnswer() throws {
        let pipeline = try decode([Self.half, Self.half], linkSeconds: 0.005, count: 1, seconds: 20)
        let floor = 2 * 0.013 + 2 * 0.005
        #expect(pipeline.tokensPerSecond(since: 5) > 0.95 / floor)
    }

    @Test("a long prompt keeps every stage busy", arguments: [2, 4])
    func longPrompt(stageCount: Int) throws {
        let stage = TimedPipeline.StageTimes(fixed: 0.008 / Double(stageCount), perToken: 0.005 / Double(stageCount))
        var pipeline = TimedPipeline(
            stages: Array(repeating: stage, count: stageCount), linkSeconds: 0.0002, sequenceCount: 1)
        // Times are known from the request before.
        try pipeline.submit(1, promptTokenCount: 256, outputTokenCount: 40)
        pipeline.run(until: 10)
        try pipeline.submit(2, promptTokenCount: 4000, outputTokenCount: 1)
        pipeline.run(until: 60)
        let seconds = try #require(pipeline.tokenTimes[2]?.first) - 10
        let solo = 4000 * 0.005 + 4000.0 / 512 * 0.008
        #expect(solo / seconds > 0.85 * Double(stageCount), "\(solo / seconds) times one stage")
    }

    @Test("answers keep half their pace while a prompt of 4000 tokens comes in, which takes at most twice as long")
    func fairness() throws {
        let stage = TimedPipeline.StageTimes(fixed: 0.010, perToken: 0.002)
        var pipeline = TimedPipeline(stages: [stage, stage], linkSeconds: 0.0002, sequenceCount: 5)
        for id: UInt64 in 0..<4 { try pipeline.submit(id, promptTokenCount: 8, outputTokenCount: 4000) }
        pipeline.run(until: 10)
        let before = pipeline.tokensPerSecond(since: 5)
        try pipeline.submit(9, promptTokenCount: 4000, outputTokenCount: 1)
        pipeline.run(until: 60)
        let first = try #require(pipeline.tokenTimes[9]?.first)
        let during = Double(pipeline.tokenTimes.values.joined().count { $0 > 10 && $0 < first }) / (first - 10)
        #expect(during > 0.45 * before, "\(during) of \(before) tokens per second")
        let alone = 4000 * 0.002
        #expect(first - 10 < 3 * alone, "\(first - 10) s")
    }
}
