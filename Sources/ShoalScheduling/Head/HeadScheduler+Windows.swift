import ShoalCore

/// What running answers send: their latest token, and guesses behind it.
///
/// A guess is checked by the last stage, which samples behind every entry as long as the next entry's token is the one
/// it sampled, and says nothing of the entries behind the first wrong one. So sampling stays what it is without
/// guesses. The cells of wrong guesses are removed by whatever the sequence sends next, in every stage behind all that
/// was sent before. Guesses behind guesses go out without waiting for the verdict where the pipeline would otherwise
/// run dry: over slow links, one answer fills it alone.
extension HeadScheduler {
    /// Guesses that are this unlikely to be right are not sent, counting those before them that are not judged yet.
    private static let likelihoodMin = 0.2

    /// Windows of one group of the decoding sequences: those whose turn it is.
    mutating func takeDueWindows(sequenceCountMax: Int, decodingCount: Int) -> BatchParts {
        // Prompts that end want an output too, and their tokens some room.
        let room = min(configuration.outputCountMax - promptTurns.count, configuration.microBatchTokenCountMax / 2)
        let roomPerSequence = max(1, room / max(1, sequenceCountMax))
        var parts = BatchParts()
        let served = dueNeighbours(countMax: sequenceCountMax)
        for sequence in served {
            guard let request = slots[Int(sequence.rawValue)].running else { continue }
            let draftCount = min(roomPerSequence - 1, draftCount(for: request, decodingCount: decodingCount))
            parts.entries += takeWindow(of: sequence, draftCountMax: draftCount, &parts.operations)
        }
        moveToBack(served, of: \.decodeTurns)
        return parts
    }

    /// The sequence that has waited longest and those that follow it by number, the first after the last: stages
    /// compute neighbours together. In order of their numbers.
    private func dueNeighbours(countMax: Int) -> [SequenceID] {
        let due = decodeTurns.filter { slots[Int($0.rawValue)].running?.isDecodeDue == true && !isPaused($0) }
        guard due.count > countMax, let first = due.first?.rawValue else { return due.sorted() }
        let ring = Int32(slots.count)
        let ordered = due.sorted { ($0.rawValue - first + ring) % ring < ($1.rawValue - first + ring) % ring }
        return ordered.prefix(countMax).sorted()
    }

    /// A window of guesses behind guesses, when there is nothing else to send and room in the pipeline.
    mutating func takeGuesses(decodingCount: Int) -> BatchParts {
        var parts = BatchParts()
        for sequence in decodeTurns where !isPaused(sequence) {
            guard let request = slots[Int(sequence.rawValue)].running, !request.isDecodeDue,
                request.unverifiedCount > 0 || request.isGuessedByModel,
                let acceptance = request.acceptance, likelihood(request, acceptance) >= Self.likelihoodMin
            else { continue }
            let draftCount = min(
                draftCount(for: request, decodingCount: decodingCount), configuration.microBatchTokenCountMax,
                configuration.outputCountMax)
            guard draftCount > 0, isWorthSending(request, draftCount),
                inFlight.count < pacing.depth(tokenCount: draftCount, outputCount: draftCount, hasAnswers: true)
            else {
                continue
            }
            parts.entries = takeWindow(of: sequence, draftCountMax: draftCount, &parts.operations)
            guard parts.entries.isEmpty else { break }
        }
        moveToBack(parts.entries.prefix(1).map(\.sequence), of: \.decodeTurns)
        return parts
    }

    /// That all guesses under way are right.
    private func likelihood(_ request: RunningRequest, _ acceptance: Double) -> Double {
        (0..<request.unverifiedCount).reduce(1) { product, _ in product * acceptance }
    }

    private mutating func draftCount(for request: RunningRequest, decodingCount: Int) -> Int {
        guard let acceptance = request.acceptance else { return 0 }
        if request.isGuessedByModel { return modelDraftCount(for: request, decodingCount: decodingCount) }
        return pacing.draftCount(
            acceptance: acceptance, decodingCount: decodingCount, mustGuess: request.speculation != .auto)
    }

    /// The draft model's guesses come one by one; they go together, unless no more will come.
    private func isWorthSending(_ request: RunningRequest, _ draftCount: Int) -> Bool {
        guard request.isGuessedByModel else { return true }
        return request.unsentGuessCount >= draftCount || (request.unsentGuessCount > 0 && !expectsGuess(request))
    }

    private mutating func takeWindow(
        of sequence: SequenceID, draftCountMax: Int, _ operations: inout [KVOperation]
    ) -> [BatchEntry] {
        var entries: [BatchEntry] = []
        update(sequence) { entries = $0.takeWindow(draftCountMax: draftCountMax) }
        let index = Int(sequence.rawValue)
        if slots[index].hasSurplus, !entries.isEmpty {
            slots[index].hasSurplus = false
            operations.append(.remove(sequence, from: Int32(slots[index].cells.count), to: .max))
        }
        return entries
    }
}
