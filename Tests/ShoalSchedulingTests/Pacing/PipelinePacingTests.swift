import ShoalCore
import Testing

@testable import ShoalScheduling

@Suite("Pacing")
struct PipelinePacingTests {
    @Test("a micro-batch that was computed quicker than most does not make the links look quick")
    func delayIsTheLinks() {
        var pacing = PipelinePacing(HeadSchedulerConfiguration.twoStages)
        // 40 ms of links, and 20 ms in each engine, of which one does not know what its node saw; then one as usual.
        let quick = [StageTimes(compute: 19_000, engine: 20_000), StageTimes(queue: 1_000, compute: 19_000)]
        pacing.microBatchReturned(tokenCount: 4, outputCount: 4, quick, .milliseconds(80), now: .seconds(2))
        let usual = [StageTimes(compute: 41_000), StageTimes(compute: 41_000)]
        pacing.microBatchReturned(tokenCount: 4, outputCount: 4, usual, .milliseconds(122), now: .seconds(2))
        // The mean of 19 and 41 ms, twice.
        #expect(abs(pacing.roundTripSeconds(tokenCount: 4) - 0.100) < 1e-6)
    }
}

extension HeadSchedulerConfiguration {
    fileprivate static var twoStages: HeadSchedulerConfiguration {
        var configuration = HeadSchedulerConfiguration(headName: "a", contextTokenCount: 256, sequenceCountMax: 8)
        configuration.stageCount = 2
        return configuration
    }
}
