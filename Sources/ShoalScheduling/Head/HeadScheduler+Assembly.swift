import ShoalCore

extension HeadScheduler {
    /// Admits, assembles and sends whatever the bounds allow now. Every event ends here.
    mutating func proceed(now: Duration) -> [HeadSchedulerAction] {
        guard case .ready = pipeline else { return drainedIfEmpty() }
        return admitQueued(now: now) + sendDue(now: now) + drainedIfEmpty()
    }

    private mutating func admitQueued(now: Duration) -> [HeadSchedulerAction] {
        var actions: [HeadSchedulerAction] = []
        while let queued = queue.first {
            let outputTokenCountMax = outputTokenCountMax(of: queued.request)
            let reserved = queued.request.promptTokens.count + outputTokenCountMax
            guard let sequence = takeSequence(for: queued.request, reservedCellCount: reserved) else { break }
            queue.removeFirst()
            admissionCount += 1
            let running = RunningRequest(
                queued, sequence: sequence, outputTokenCountMax: outputTokenCountMax, admissionNumber: admissionCount,
                now: now)
            slots[Int(sequence.rawValue)].occupant = .running(running)
            sequences[queued.request.id] = sequence
            promptTurns.append(sequence)
            actions.append(.configureSampler(sequence, queued.request.sampling, running.samplerHistory))
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
        while inFlight.count < configuration.microBatchesInFlightMax, let batch = nextBatch(now: now) {
            actions.append(.send(batch))
        }
        return actions
    }

    /// Nil when nothing is due, or enough is under way.
    private mutating func nextBatch(now: Duration) -> MicroBatch? {
        let decodingCount = decodeTurns.count { !isPaused($0) }
        let groups = pacing.groups(of: decodingCount)
        let decoding = inFlight.count(where: \.isDecoding) < groups.count ? takeDecodeEntries(groups.size) : []
        let chunk = pacing.promptChunk(
            promptTokenCount: promptTurns.reduce(0) {
                $0 + (slots[Int($1.rawValue)].running?.promptRemainingCount ?? 0)
            },
            decodeTokenCount: decoding.isEmpty && decodingCount > 0 ? groups.size : decoding.count)
        let depth = pacing.depth(tokenCount: decoding.count + chunk, hasAnswers: decodingCount > 0)
        var operations: [KVOperation] = []
        var prompts: [BatchEntry] = []
        if !promptTurns.isEmpty, !decoding.isEmpty || inFlight.count < depth {
            operations = startPrompts(now: now)
            prompts = takePromptEntries(room: min(chunk, configuration.microBatchTokenCountMax - decoding.count))
        }
        // Removals ride along; they travel alone only when nothing else will.
        let mustRemove = inFlight.isEmpty && !pendingRemovals.isEmpty
        guard !decoding.isEmpty || !prompts.isEmpty || mustRemove else { return nil }
        return makeBatch(operations, decoding + prompts, isDecoding: !decoding.isEmpty, now: now)
    }

    private mutating func makeBatch(
        _ operations: [KVOperation], _ entries: [BatchEntry], isDecoding: Bool, now: Duration
    ) -> MicroBatch {
        assert(entries.count <= configuration.microBatchTokenCountMax)
        let batch = MicroBatch(
            number: nextBatchNumber, kvOperations: pendingRemovals.map { .removeAll($0) } + operations, entries: entries
        )
        assert(batch.kvOperations.count <= Limits.kvOperationCountMax)
        let record = BatchInFlight(batch, isDecoding: isDecoding, sentAt: now)
        for sequence in record.sequences { slots[Int(sequence.rawValue)].mentionCount += 1 }
        for entry in entries { slots[Int(entry.sequence.rawValue)].cells.append(entry.token) }
        inFlight.append(record)
        nextBatchNumber += 1
        pendingRemovals = []
        return batch
    }

    /// One group of the decoding sequences: those whose turn it is.
    private mutating func takeDecodeEntries(_ sequenceCountMax: Int) -> [BatchEntry] {
        var entries: [BatchEntry] = []
        for sequence in decodeTurns where entries.count < sequenceCountMax && !isPaused(sequence) {
            update(sequence) { request in
                if let entry = request.takeDecodeEntry() { entries.append(entry) }
            }
        }
        moveToBack(entries.map(\.sequence), of: \.decodeTurns)
        return entries
    }

    private mutating func takePromptEntries(room: Int) -> [BatchEntry] {
        var entries: [BatchEntry] = []
        for sequence in promptTurns where entries.count < room {
            guard slots[Int(sequence.rawValue)].running?.isStarted == true else { continue }
            var isComplete = false
            update(sequence) { request in
                entries += request.takePromptChunk(tokenCountMax: room - entries.count)
                isComplete = !request.isPrefilling
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
