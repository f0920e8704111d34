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
        ("losses and failures", HeadSimulation.Faults(failPercent: 2, lossPercent: 1, cancelPercent: 3)),
        (
            "losses that no answer may notice",
            HeadSimulation.Faults(lossPercent: 3, cancelPercent: 3, lossCountMax: 1000)
        ),
        (
            "lost heads that no answer may notice",
            HeadSimulation.Faults(lossPercent: 1, cancelPercent: 3, headLossPercent: 3, lossCountMax: 1000)
        ),
    ]

    @Test("every answer is the model's, every bound holds, everything is freed", arguments: 0..<schedules.count)
    func answersAreRightUnderFaults(schedule: Int) {
        let (name, faults) = Self.schedules[schedule]
        for seed in seeds(0..<40) {
            var simulation = HeadSimulation(seed: seed, faults: faults)
            simulation.run(stepCount: 300)
            #expect(
                simulation.violations.count == 0,
                """
                \(name), SHOAL_SEED=\(seed), \(simulation.configuration):
                \(simulation.violations.count) violations, first:
                \(simulation.violations.prefix(5).joined(separator: "\n"))
                """)
        }
    }

    @Test("the simulation of lost heads reaches answers that went on elsewhere and ended well")
    func answersMove() {
        var movedCount = 0
        for seed: UInt64 in 0..<40 {
            var simulation = HeadSimulation(seed: seed, faults: Self.schedules[Self.schedules.count - 1].faults)
            simulation.run(stepCount: 300)
            movedCount += simulation.clients.count { client in
                guard client.hasMoved, !client.text.isEmpty, case .finished = client.terminal else { return false }
                return true
            }
        }
        #expect(movedCount > 50)
    }

    @Test("the simulation reaches what it is for: answers, refusals, mixed micro-batches, reuse, losses")
    func simulationCoversItsCases() {
        var finishedCount = 0
        var refusedCodes: Set<ShoalError.Code> = []
        var mixedBatchCount = 0
        var inFlightCountMax = 0
        var resumedCount = 0
        var reusedTokenCount = 0
        var draftedTokenCount = 0
        var acceptedTokenCount = 0
        var modelDraftedTokenCount = 0
        var modelAcceptedTokenCount = 0
        for seed: UInt64 in 0..<80 {
            var simulation = HeadSimulation(seed: seed, faults: Self.schedules[3].faults)
            simulation.run(stepCount: 300)
            mixedBatchCount += simulation.mixedBatchCount
            inFlightCountMax = max(inFlightCountMax, simulation.inFlightCountMax)
            resumedCount += simulation.resumedCount
            reusedTokenCount += simulation.reusedTokenCount
            draftedTokenCount += simulation.counters.draftedTokenCount
            acceptedTokenCount += simulation.counters.acceptedTokenCount
            modelDraftedTokenCount += simulation.counters.modelDraftedTokenCount
            modelAcceptedTokenCount += simulation.counters.modelAcceptedTokenCount
            for client in simulation.clients {
                switch client.terminal {
                case .finished: finishedCount += 1
                case .failed(let error): refusedCodes.insert(error.code)
                case .started, .text, .lost, nil: break
                }
            }
        }
        #expect(finishedCount > 100)
        #expect(mixedBatchCount > 100)
        #expect(inFlightCountMax == 4)
        #expect(resumedCount > 20)
        #expect(reusedTokenCount > 1000)
        #expect(acceptedTokenCount > 50)
        #expect(draftedTokenCount - acceptedTokenCount > 15, "wrong guesses")
        #expect(modelAcceptedTokenCount > 50)
        #expect(modelDraftedTokenCount - modelAcceptedTokenCount > 15, "wrong guesses of the draft model")
        #expect(refusedCodes.isSuperset(of: [.cancelled, .overloaded, .contextOverflow, .engineLost, .internal]))
    }
}
