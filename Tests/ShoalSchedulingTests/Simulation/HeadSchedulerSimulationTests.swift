import ShoalCore
import ShoalScheduling
import Testing

/// Replay a failure with `SHOAL_SEED=<seed>`.
@Suite("Simulated heads")
struct HeadSchedulerSimulationTests {
    static let schedules: [(name: String, faults: HeadSimulation.Faults)] = [
        ("calm", HeadSimulation.Faults()),
        ("cancellations", HeadSimulation.Faults(cancelPercent: 10)),
        ("failing micro-batches", HeadSimulation.Faults(failPercent: 5, cancelPercent: 3)),
        ("losses", HeadSimulation.Faults(failPercent: 2, lossPercent: 1, cancelPercent: 3)),
    ]

    @Test("every answer is the model's, every bound holds, everything is freed", arguments: 0..<schedules.count)
    func answersAreRightUnderFaults(schedule: Int) {
        let (name, faults) = Self.schedules[schedule]
        for seed in seeds(0..<100) {
            var simulation = HeadSimulation(seed: seed, faults: faults)
            simulation.run(stepCount: 300)
            #expect(
                simulation.violations.isEmpty,
                """
                \(name), SHOAL_SEED=\(seed), \(simulation.configuration):
                \(simulation.violations.count) violations, first:
                \(simulation.violations.prefix(5).joined(separator: "\n"))
                """)
        }
    }

    @Test("the simulation reaches what it is for: finished answers, refusals, mixed and overlapping micro-batches")
    func simulationCoversItsCases() {
        var finishedCount = 0
        var refusedCodes: Set<ShoalError.Code> = []
        var mixedBatchCount = 0
        var inFlightCountMax = 0
        for seed: UInt64 in 0..<40 {
            var simulation = HeadSimulation(seed: seed, faults: Self.schedules[3].faults)
            simulation.run(stepCount: 300)
            mixedBatchCount += simulation.mixedBatchCount
            inFlightCountMax = max(inFlightCountMax, simulation.inFlightCountMax)
            for client in simulation.clients {
                switch client.terminal {
                case .finished: finishedCount += 1
                case .failed(let error): refusedCodes.insert(error.code)
                case .started, .text, nil: break
                }
            }
        }
        #expect(finishedCount > 100)
        #expect(mixedBatchCount > 100)
        #expect(inFlightCountMax == 4)
        #expect(refusedCodes.isSuperset(of: [.cancelled, .overloaded, .contextOverflow, .engineLost, .internal]))
    }
}
