package import ShoalCore

extension HeadScheduler {
    /// The last stage answered a micro-batch. `tokens`: one per entry that wanted an output, in entry order.
    package mutating func outputsArrived(
        batchNumber: UInt64, generation: UInt32, tokens: [SampledToken], now: Duration
    ) -> [HeadSchedulerAction] {
        switch batchThatCameBack(batchNumber, generation: generation) {
        case .stale:
            return []
        case .neverSent(let error):
            return breakPipeline(error)
        case .found(let batch):
            guard tokens.map(\.sequence) == batch.outputSequences else {
                return breakPipeline(mismatch(tokens, batch))
            }
            settle(batch)
            failedBatchCount = 0
            pacing.roundTripMeasured(tokenCount: batch.tokenCount, now - batch.sentAt, now: now)
            var actions = tokens.flatMap { accept($0, now: now) }
            actions += batch.sequences.flatMap { idleIfUnmentioned($0) }
            return actions + proceed(now: now)
        }
    }

    /// A stage could not compute a micro-batch. What the sequences hold that it changed is unknown now, so their
    /// requests fail and their cells are removed; other sequences go on.
    package mutating func batchFailed(
        batchNumber: UInt64, generation: UInt32, error: ShoalError, now: Duration
    ) -> [HeadSchedulerAction] {
        switch batchThatCameBack(batchNumber, generation: generation) {
        case .stale:
            return []
        case .neverSent(let error):
            return breakPipeline(error)
        case .found(let batch):
            settle(batch)
            failedBatchCount += 1
            let failedBatchCountMax = configuration.failedRoundCountMax * configuration.microBatchesInFlightMax
            guard failedBatchCount <= failedBatchCountMax else { return breakPipeline(error) }
            let actions = spoil(batch).flatMap { endSpoiled($0, error, now: now) }
            return actions + proceed(now: now)
        }
    }

    // MARK: Micro-batches that come back

    private enum CameBack {
        case found(BatchInFlight)
        /// A legitimate race.
        case stale
        /// The peer's violation.
        case neverSent(ShoalError)
    }

    private func batchThatCameBack(_ number: UInt64, generation: UInt32) -> CameBack {
        guard case .ready = pipeline, generation == self.generation else { return .stale }
        guard number < nextBatchNumber else {
            return .neverSent(
                ShoalError(
                    .protocolViolation,
                    "micro-batch \(number) of generation \(generation) came back, but only those below"
                        + " \(nextBatchNumber) were sent"))
        }
        guard let batch = inFlight.first(where: { $0.number == number }) else { return .stale }
        return .found(batch)
    }

    private func mismatch(_ tokens: [SampledToken], _ batch: BatchInFlight) -> ShoalError {
        ShoalError(
            .protocolViolation,
            "micro-batch \(batch.number) came back with \(tokens.count) tokens for sequences"
                + " \(listed(tokens.map(\.sequence))); \(batch.outputSequences.count) were asked for, for sequences"
                + " \(listed(batch.outputSequences))")
    }

    /// At most eight, so that a message stays a sentence.
    private func listed(_ sequences: [SequenceID]) -> String {
        let shown = sequences.prefix(8).map(\.description).joined(separator: ", ")
        return sequences.count > 8 ? "[\(shown), …]" : "[\(shown)]"
    }

    private mutating func settle(_ batch: BatchInFlight) {
        inFlight.removeAll { $0.number == batch.number }
        for sequence in batch.sequences {
            slots[Int(sequence.rawValue)].mentionCount -= 1
            assert(slots[Int(sequence.rawValue)].mentionCount >= 0)
        }
    }

    /// Sequences whose cells are unknown after a micro-batch failed, sorted: those that it changed, and those that
    /// copied from them since.
    private func spoil(_ batch: BatchInFlight) -> [SequenceID] {
        var spoiled = batch.changedSequences
        for later in inFlight where later.number > batch.number {
            for operation in later.kvOperations {
                switch operation {
                case .remove(let sequence, from: 0, to: .max): spoiled.remove(sequence)
                case .copy(let source, let destination, _, _) where spoiled.contains(source):
                    spoiled.insert(destination)
                case .copy, .remove, .keep, .clear: break
                }
            }
        }
        return spoiled.sorted()
    }

    private mutating func endSpoiled(
        _ sequence: SequenceID, _ error: ShoalError, now: Duration
    ) -> [HeadSchedulerAction] {
        if let running = slots[Int(sequence.rawValue)].running, !running.isStarted {
            // Nothing of it was there yet.
            removeCells(of: sequence)
            return []
        }
        slots[Int(sequence.rawValue)].isDirty = true
        let actions = end(sequence, .failed(error), now: now) + idleIfUnmentioned(sequence)
        if slots[Int(sequence.rawValue)].isIdle, slots[Int(sequence.rawValue)].isDirty { removeCells(of: sequence) }
        return actions
    }

    private mutating func breakPipeline(_ error: ShoalError) -> [HeadSchedulerAction] {
        pipelineLost(error) + [.pipelineBroken(error)]
    }

    // MARK: Tokens

    private mutating func accept(_ token: SampledToken, now: Duration) -> [HeadSchedulerAction] {
        guard slots[Int(token.sequence.rawValue)].running != nil else { return [] }
        var reason: FinishReason?
        var event: GenerationEvent?
        update(token.sequence) { request in
            (event, reason) = request.accept(token, now: now)
        }
        guard let running = slots[Int(token.sequence.rawValue)].running else { return [] }
        let told = event.map { [HeadSchedulerAction.emit(running.request.id, $0)] } ?? []
        if !token.isEndOfGeneration { counters.outputTokenCount += 1 }
        guard let reason else { return told }
        return told + end(token.sequence, .finished(reason, running.usage()), now: now)
    }
}
