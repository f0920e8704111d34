import ShoalCore
import ShoalScheduling

/// The draft model of a simulated head.
extension HeadSimulation {
    mutating func changeDraft() {
        isDraftReady.toggle()
        draftBatches = []
        draft.reset()
        if isDraftReady {
            execute(scheduler.draftReady(now: now))
        } else {
            scheduler.draftLost()
        }
    }

    /// Right guesses, wrong ones, ends, tokens that the model does not have, and now and then a failure.
    mutating func deliverGuesses() {
        guard !draftBatches.isEmpty else { return }
        let batch = draftBatches.removeFirst()
        let asked = draft.compute(batch)
        if let violation = draft.violations.last { return violate(violation) }
        guard !generator.chance(1) else {
            return execute(
                scheduler.draftFailed(batchNumber: batch.number, error: ShoalError(.internal, "the simulation")))
        }
        let tokens = asked.map { sequence, cells in
            var token = ReferenceModel.next(after: cells, in: sequence)
            if generator.chance(20) { token.token = TokenID(rawValue: Int32.random(in: 0..<20, using: &generator)) }
            return token
        }
        execute(scheduler.draftOutputsArrived(batchNumber: batch.number, tokens: tokens, now: now))
    }
}
