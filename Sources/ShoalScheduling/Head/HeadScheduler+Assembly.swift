import ShoalCore

extension HeadScheduler {
    /// Admits, assembles and sends whatever the bounds allow now. Every event ends here.
    mutating func proceed(now: Duration) -> [HeadSchedulerAction] {
        guard case .ready = pipeline else { return drainedIfEmpty() }
        return admitQueued(now: now) + sendDue(now: now) + drainedIfEmpty()
    }

    private mutating func admitQueued(now: Duration) -> [HeadSchedulerAction] {
        var actions: [HeadSchedulerAction] = []
        while let queued = queue.first, let index = slots.firstIndex(where: \.isFree) {
            let sequence = SequenceID(rawValue: Int32(index))
            let outputTokenCountMax = outputTokenCountMax(of: queued.request)
            let running = RunningRequest(
                queued, sequence: sequence, outputTokenCountMax: outputTokenCountMax, now: now)
            guard reservedCellCount + running.reservedCellCount <= configuration.kvTokenCapacity else { break }
            queue.removeFirst()
            slots[index].occupant = .running(running)
            sequences[queued.request.id] = sequence
            promptTurns.append(sequence)
            actions.append(.configureSampler(sequence, queued.request.sampling))
        }
        return actions
    }

    /// What was asked for, bounded by the room that the prompt leaves in the context.
    private func outputTokenCountMax(of request: TokenizedRequest) -> Int {
        let room = configuration.contextTokenCount - request.promptTokens.count
        return min(request.outputTokenCountMax ?? room, room)
    }

    private mutating func sendDue(now: Duration) -> [HeadSchedulerAction] {
        var actions: [HeadSchedulerAction] = []
        while inFlight.count < configuration.microBatchesInFlightMax {
            var entries = takeDecodeEntries()
            entries += takePromptEntries(room: configuration.microBatchTokenCountMax - entries.count, now: now)
            // Removals ride along; they travel alone only when nothing else will.
            guard !entries.isEmpty || (inFlight.isEmpty && !pendingRemovals.isEmpty) else { break }
            actions.append(.send(makeBatch(entries, now: now)))
        }
        return actions
    }

    private mutating func makeBatch(_ entries: [BatchEntry], now: Duration) -> MicroBatch {
        assert(entries.count <= configuration.microBatchTokenCountMax)
        let batch = MicroBatch(
            number: nextBatchNumber, kvOperations: pendingRemovals.map { .removeAll($0) }, entries: entries)
        let record = BatchInFlight(batch, removals: pendingRemovals, sentAt: now)
        for sequence in record.sequences { slots[Int(sequence.rawValue)].mentionCount += 1 }
        inFlight.append(record)
        nextBatchNumber += 1
        pendingRemovals = []
        return batch
    }

    /// One group of the decoding sequences: those whose turn it is.
    private mutating func takeDecodeEntries() -> [BatchEntry] {
        let decoding = decodeTurns.filter { !isPaused($0) }
        let depth = configuration.microBatchesInFlightMax
        let groupCount = (decoding.count + depth - 1) / depth
        var entries: [BatchEntry] = []
        for sequence in decoding where entries.count < groupCount {
            update(sequence) { request in
                if let entry = request.takeDecodeEntry() { entries.append(entry) }
            }
        }
        moveToBack(entries.map(\.sequence), of: \.decodeTurns)
        return entries
    }

    private mutating func takePromptEntries(room: Int, now: Duration) -> [BatchEntry] {
        let tokenCountMax = min(room, configuration.promptChunkTokenCountMax)
        var entries: [BatchEntry] = []
        for sequence in promptTurns where entries.count < tokenCountMax {
            var isComplete = false
            update(sequence) { request in
                entries += request.takePromptChunk(tokenCountMax: tokenCountMax - entries.count, now: now)
                isComplete = request.promptRemainingCount == 0
            }
            moveToBack([sequence], of: \.promptTurns)
            guard isComplete else { continue }
            promptTurns.removeLast()
            decodeTurns.append(sequence)
        }
        return entries
    }

    private func isPaused(_ sequence: SequenceID) -> Bool {
        slots[Int(sequence.rawValue)].running?.isPaused(beyond: configuration.unacknowledgedTokenCountMax) ?? true
    }

    private mutating func moveToBack(_ served: [SequenceID], of turns: WritableKeyPath<HeadScheduler, [SequenceID]>) {
        self[keyPath: turns].removeAll(where: served.contains)
        self[keyPath: turns] += served
    }
}
