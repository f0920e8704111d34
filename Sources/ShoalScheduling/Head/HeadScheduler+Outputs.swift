package import ShoalCore

extension HeadScheduler {
    /// The last stage answered a micro-batch. `tokens`: one per entry that wanted an output, in entry order, but none
    /// behind an entry whose token was not what was sampled before it. `stages`: the times of the stages that the
    /// micro-batch went through, which pace what follows.
    package mutating func outputsArrived(
        batchNumber: UInt64, generation: UInt32, tokens: [SampledToken], stages: [StageTimes] = [], now: Duration
    ) -> [HeadSchedulerAction] {
        switch batchThatCameBack(batchNumber, generation: generation) {
        case .stale:
            return []
        case .neverSent(let error):
            return breakPipeline(error)
        case .found(let batch):
            guard let answers = split(tokens, of: batch) else { return breakPipeline(mismatch(tokens, batch)) }
            settle(batch)
            failedBatchCount = 0
            pacing.microBatchReturned(
                tokenCount: batch.tokenCount, outputCount: batch.windows.reduce(0) { $0 + $1.count },
                stages, now - batch.sentAt, now: now)
            measureGroups(batch, now: now)
            var actions: [HeadSchedulerAction] = []
            for (window, answer) in zip(batch.windows, answers) {
                guard let more = accept(answer, of: window, now: now) else {
                    return actions + breakPipeline(mismatch(tokens, batch))
                }
                actions += more
            }
            actions += batch.sequences.flatMap { idleIfUnmentioned($0) }
            return actions + proceed(now: now)
        }
    }

    /// Only answers' latest tokens, alone, tell what their groups give.
    private mutating func measureGroups(_ batch: BatchInFlight, now: Duration) {
        guard batch.isDecoding, promptTurns.isEmpty, batch.tokenCount == batch.windows.count else {
            return pacing.groupsInterrupted()
        }
        pacing.groupArrived(tokenCount: batch.tokenCount, of: decodeTurns.count { !isPaused($0) }, now: now)
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
                + " \(listed(tokens.map(\.sequence))); \(batch.windows.reduce(0) { $0 + $1.count }) were asked for, for"
                + " sequences \(listed(batch.windows.map(\.sequence)))")
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

    /// The tokens of each window; nil when they are not those of the windows, in order.
    private func split(_ tokens: [SampledToken], of batch: BatchInFlight) -> [ArraySlice<SampledToken>]? {
        var rest = tokens[...]
        let answers = batch.windows.map { window in
            let answer = rest.prefix(window.count).prefix { $0.sequence == window.sequence }
            rest = rest.dropFirst(answer.count)
            return answer
        }
        return rest.isEmpty ? answers : nil
    }

    /// Nil when fewer tokens came than the guesses explain.
    private mutating func accept(
        _ answer: ArraySlice<SampledToken>, of window: BatchInFlight.Window, now: Duration
    ) -> [HeadSchedulerAction]? {
        let index = Int(window.sequence.rawValue)
        // Nobody waits for what an ended request asked for.
        guard let request = slots[index].running else { return [] }
        // Sent behind a guess that was found wrong since.
        guard window.cutCount == request.cutCount else { return answer.isEmpty ? [] : nil }
        var actions: [HeadSchedulerAction] = []
        for token in answer {
            if let current = slots[index].running, current.cutCount != window.cutCount { return nil }
            actions += accept(token, now: now)
        }
        guard let after = slots[index].running else { return actions }
        if after.cutCount != window.cutCount {
            slots[index].cells.removeSubrange(after.sentCount...)
            slots[index].hasSurplus = true
        }
        return answer.count == window.count || after.cutCount != window.cutCount ? actions : nil
    }

    private mutating func accept(_ token: SampledToken, now: Duration) -> [HeadSchedulerAction] {
        guard let before = slots[Int(token.sequence.rawValue)].running else { return [] }
        var reason: FinishReason?
        var event: GenerationEvent?
        let hasDraftModel =
            drafting.isReady && modelDraftCount(for: before, decodingCount: max(1, decodeTurns.count)) > 0
        update(token.sequence) { request in
            (event, reason) = request.accept(token, hasDraftModel: hasDraftModel, now: now)
        }
        guard let running = slots[Int(token.sequence.rawValue)].running else { return [] }
        counters.draftedTokenCount += running.draftedTokenCount - before.draftedTokenCount
        counters.acceptedTokenCount += running.acceptedTokenCount - before.acceptedTokenCount
        counters.modelDraftedTokenCount += running.modelDraftedTokenCount - before.modelDraftedTokenCount
        counters.modelAcceptedTokenCount += running.modelAcceptedTokenCount - before.modelAcceptedTokenCount
        if let isRight = running.modelVerdict { modelJudged(isRight, now: now) }
        if !token.isEndOfGeneration { counters.outputTokenCount += 1 }
        let told = event.map { [HeadSchedulerAction.emit(running.request.id, $0)] } ?? []
        guard let reason else { return told }
        return told + end(token.sequence, .finished(reason, running.usage()), now: now)
    }
}
