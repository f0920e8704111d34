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
            var actions = tokens.flatMap { accept($0, now: now) }
            actions += batch.sequences.flatMap { freeIfUnmentioned($0) }
            return actions + proceed(now: now)
        }
    }

    /// A stage could not compute a micro-batch. What its sequences hold now is unknown, so their requests fail and
    /// their cells are removed; other sequences go on.
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
            var actions = batch.sequences.flatMap { end($0, .failed(error)) + freeIfUnmentioned($0) }
            actions += batch.removals.flatMap { removeAgain($0, after: error) }
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

    /// Some stages may have removed the cells and others not. The sequence may be someone else's by now, whose cells
    /// then lie among old ones.
    private mutating func removeAgain(_ sequence: SequenceID, after error: ShoalError) -> [HeadSchedulerAction] {
        let actions = end(sequence, .failed(error))
        if slots[Int(sequence.rawValue)].isFree { queueRemoval(sequence) }
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
        guard let reason else { return told }
        return told + end(token.sequence, .finished(reason, running.usage()))
    }
}

extension RunningRequest {
    /// What a sampled token adds to the answer, and whether it ends it.
    fileprivate mutating func accept(
        _ token: SampledToken, now: Duration
    ) -> (event: GenerationEvent?, reason: FinishReason?) {
        assert(pendingToken == nil)
        if firstTokenAt == nil { firstTokenAt = now }
        guard !token.isEndOfGeneration else { return (tell(text.finish().text), .stop) }
        lastTokenAt = now
        outputTokenCount += 1
        untoldTokenCount += 1
        let output = text.append(token.piece)
        if output.isStopped { return (tell(output.text), .stop) }
        guard outputTokenCount < outputTokenCountMax else {
            let rest = text.finish()
            return (tell(output.text + rest.text), rest.isStopped ? .stop : .length)
        }
        pendingToken = token.token
        return (tell(output.text), nil)
    }

    private mutating func tell(_ text: String) -> GenerationEvent? {
        guard !text.isEmpty else { return nil }
        let tokenCount = untoldTokenCount
        untoldTokenCount = 0
        unacknowledgedTokenCount += tokenCount
        return .text(text, tokenCount: tokenCount)
    }
}
