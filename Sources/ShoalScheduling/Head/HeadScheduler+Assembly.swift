import ShoalCore

extension HeadScheduler {
    /// Admits, assembles and sends whatever the bounds allow now. Every event ends here.
    mutating func proceed(now: Duration) -> [HeadSchedulerAction] {
        guard case .ready = pipeline else { return drainedIfEmpty() }
        return admitQueued(now: now) + sendDue(now: now) + draftDue(now: now) + drainedIfEmpty()
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
                speculation: speculation(of: queued.request), modelAcceptance: modelAcceptance, now: now)
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

    private func speculation(of request: TokenizedRequest) -> SpeculationMode {
        configuration.canRemovePartialSequences ? request.speculation ?? configuration.speculation : .off
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
        var parts = BatchParts()
        if inFlight.count(where: \.isDecoding) < groups.count {
            parts = takeDueWindows(sequenceCountMax: groups.size, decodingCount: decodingCount)
        }
        let dueCount = parts.entries.count
        let chunk = pacing.promptChunk(
            promptTokenCount: promptTurns.reduce(0) {
                $0 + (slots[Int($1.rawValue)].running?.promptRemainingCount ?? 0)
            },
            decodeTokenCount: dueCount == 0 && decodingCount > 0 ? groups.size : dueCount)
        let depth = pacing.depth(tokenCount: dueCount + chunk, outputCount: dueCount, hasAnswers: decodingCount > 0)
        if !promptTurns.isEmpty, dueCount > 0 || inFlight.count < depth {
            parts.operations += startPrompts(now: now)
            parts.entries += takePromptEntries(room: min(chunk, configuration.microBatchTokenCountMax - dueCount))
        }
        if parts.entries.isEmpty { parts = takeGuesses(decodingCount: decodingCount) }
        // Removals ride along; they travel alone only when nothing else will.
        let mustRemove = inFlight.isEmpty && !pendingRemovals.isEmpty
        guard !parts.entries.isEmpty || mustRemove else { return nil }
        return makeBatch(parts, isDecoding: dueCount > 0, now: now)
    }

    private mutating func makeBatch(_ parts: BatchParts, isDecoding: Bool, now: Duration) -> MicroBatch {
        assert(parts.entries.count <= configuration.microBatchTokenCountMax)
        let batch = MicroBatch(
            number: nextBatchNumber, kvOperations: pendingRemovals.map { .removeAll($0) } + parts.operations,
            entries: parts.entries)
        assert(batch.kvOperations.count <= Limits.kvOperationCountMax)
        let record = BatchInFlight(batch, windows: windows(of: batch), isDecoding: isDecoding, sentAt: now)
        for sequence in record.sequences { slots[Int(sequence.rawValue)].mentionCount += 1 }
        for entry in batch.entries { slots[Int(entry.sequence.rawValue)].cells.append(entry.token) }
        inFlight.append(record)
        nextBatchNumber += 1
        pendingRemovals = []
        return batch
    }

    private func windows(of batch: MicroBatch) -> [BatchInFlight.Window] {
        var windows: [BatchInFlight.Window] = []
        for entry in batch.entries where entry.wantsOutput {
            if windows.last?.sequence == entry.sequence {
                windows[windows.count - 1].count += 1
            } else {
                let cutCount = slots[Int(entry.sequence.rawValue)].running?.cutCount ?? 0
                windows.append(BatchInFlight.Window(sequence: entry.sequence, count: 1, cutCount: cutCount))
            }
        }
        return windows
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

    func isPaused(_ sequence: SequenceID) -> Bool {
        slots[Int(sequence.rawValue)].running?.isPaused(beyond: configuration.unacknowledgedTokenCountMax) ?? true
    }

    mutating func moveToBack(_ served: [SequenceID], of turns: WritableKeyPath<HeadScheduler, [SequenceID]>) {
        self[keyPath: turns].removeAll(where: served.contains)
        self[keyPath: turns] += served
    }
}

/// What the next micro-batch is made of.
struct BatchParts {
    var operations: [KVOperation] = []
    var entries: [BatchEntry] = []
}
