import ShoalCore
import Testing

@testable import ShoalScheduling

@Suite("Pacing")
struct PipelinePacingTests {
    @Test("a micro-batch that was computed quicker than most does not make the links look quick")
    func delayIsTheLinks() {
        var pacing = PipelinePacing(HeadSchedulerConfiguration.twoStages)
        var costs = ComputeCosts()
        costs.add(tokenCount: 4, outputCount: 4, seconds: 0.030)
        for stage in 0...1 { pacing.stageMeasured(stage, costs) }
        // 40 ms of links, and 20 ms in each engine, of which one does not know what its node saw.
        let times = [StageTimes(compute: 19_000, engine: 20_000), StageTimes(queue: 1_000, compute: 19_000)]
        pacing.roundTripMeasured(
            tokenCount: 4, outputCount: 4, times, .milliseconds(80), now: .seconds(2))
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
