import ShoalCore

/// Which sequence a request gets, and what its prompt finds there.
///
/// Every stage applies KV operations and entries in the order sent, so what was sent counts as being there. A request
/// takes over an idle sequence when that holds a good part of what it needs; else it gets the idle sequence that was
/// not used for the longest time. Just before its first micro-batch it copies the cells of whichever sequence shares
/// more of its prompt by then, running ones included. It waits while an older request is still sending tokens that
/// both need: computing them twice would be slower for both.
extension HeadScheduler {
    /// A sequence that is not in use; nil while there is none, or not enough cells for the request.
    mutating func takeSequence(for request: TokenizedRequest, reservedCellCount: Int) -> SequenceID? {
        guard let chosen = idleSequence(for: request.promptTokens) else { return nil }
        let index = Int(chosen.rawValue)
        let needed = self.reservedCellCount + max(reservedCellCount, slots[index].cells.count)
        guard needed <= configuration.kvTokenCapacity else {
            // What it would take over may be larger than what it needs.
            guard self.reservedCellCount + reservedCellCount <= configuration.kvTokenCapacity else { return nil }
            evict(chosen)
            makeRoom(for: reservedCellCount, besides: chosen)
            return chosen
        }
        makeRoom(for: needed - self.reservedCellCount, besides: chosen)
        return chosen
    }

    private func idleSequence(for prompt: [TokenID]) -> SequenceID? {
        let idle = slots.indices.filter { slots[$0].isIdle && slots[$0].mentionCount == 0 }
        let shared = idle.map { reusableCount(of: $0, for: prompt) }
        let best = zip(idle, shared).max { $0.1 < $1.1 }
        // Most of what it holds would be lost to whoever else may need it: better copied than taken over.
        if let best, best.1 > 0, best.1 * 2 >= slots[best.0].cells.count || idle.count == 1 {
            return SequenceID(rawValue: Int32(best.0))
        }
        let others = idle.filter { idle.count == 1 || best?.1 == 0 || $0 != best?.0 }
        let oldest = others.min { left, right in
            guard slots[left].cells.isEmpty == slots[right].cells.isEmpty else { return slots[left].cells.isEmpty }
            return slots[left].lastUsedAt < slots[right].lastUsedAt
        }
        return oldest.map { SequenceID(rawValue: Int32($0)) }
    }

    /// Prompt tokens that need not be computed with the cells of this slot; 0 when too few.
    private func reusableCount(of index: Int, for prompt: [TokenID]) -> Int {
        let count = slots[index].sharedCount(with: prompt, canBeCut: configuration.canRemovePartialSequences)
        return count >= configuration.reusedTokenCountMin ? count : 0
    }

    /// Idle sequences give up their cells, the longest unused first, until all of them fit.
    private mutating func makeRoom(for cellCount: Int, besides chosen: SequenceID) {
        var idleCellCount = slots.reduce(0) { $0 + ($1.isIdle ? $1.cells.count : 0) }
        idleCellCount -= slots[Int(chosen.rawValue)].cells.count
        while reservedCellCount + cellCount + idleCellCount > configuration.kvTokenCapacity {
            let candidates = slots.indices.filter {
                slots[$0].isIdle && !slots[$0].cells.isEmpty && $0 != Int(chosen.rawValue)
            }
            guard let oldest = candidates.min(by: { slots[$0].lastUsedAt < slots[$1].lastUsedAt }) else { return }
            idleCellCount -= slots[oldest].cells.count
            evict(SequenceID(rawValue: Int32(oldest)))
        }
    }

    private mutating func evict(_ sequence: SequenceID) {
        guard !slots[Int(sequence.rawValue)].cells.isEmpty else { return }
        removeCells(of: sequence)
    }

    // MARK: Starts

    /// Decides for prompts that have not begun where they begin. Returns the operations that make it so, to be applied
    /// before the entries of the next micro-batch and after all that was sent.
    mutating func startPrompts(now: Duration) -> [KVOperation] {
        var operations: [KVOperation] = []
        for sequence in promptTurns {
            guard let request = slots[Int(sequence.rawValue)].running, !request.isStarted else { continue }
            guard let (source, count) = bestSource(for: request) else { continue }
            operations += moveCells(from: source, count: count, to: sequence)
            update(sequence) { $0.start(reusing: count, now: now) }
            // A request that starts again after a loss counts once.
            guard request.outputTokenCount == 0 else { continue }
            counters.promptTokenCount += request.request.promptTokens.count
            counters.reusedTokenCount += count
        }
        return operations
    }

    /// The sequence with the most of the prompt, and how much that is; nil when it is worth waiting for more.
    private func bestSource(for request: RunningRequest) -> (source: Int, count: Int)? {
        let own = Int(request.sequence.rawValue)
        var best = (source: own, count: reusableCount(of: own, for: request.tokens))
        for index in slots.indices where index != own {
            let count = reusableCount(of: index, for: request.tokens)
            if count > best.count { best = (index, count) }
        }
        let mayGrow =
            configuration.canRemovePartialSequences
            && slots.contains { slot in
                guard let other = slot.running, other.isPrefilling, other.admissionNumber < request.admissionNumber,
                    !slot.isDirty
                else { return false }
                let shared = zip(other.tokens, request.tokens.dropLast()).prefix { $0 == $1 }.count
                return shared > max(best.count, other.sentCount) && shared >= configuration.reusedTokenCountMin
            }
        return mayGrow ? nil : best
    }

    private mutating func moveCells(from source: Int, count: Int, to sequence: SequenceID) -> [KVOperation] {
        let own = Int(sequence.rawValue)
        let held = slots[own].cells.count + (slots[own].hasSurplus ? 1 : 0)
        slots[own].hasSurplus = false
        slots[own].cells = Array(slots[source].cells.prefix(count))
        if source == own {
            guard held > count else { return [] }
            return [.remove(sequence, from: Int32(count), to: .max)]
        }
        let copy = KVOperation.copy(
            source: SequenceID(rawValue: Int32(source)), destination: sequence, from: 0, to: Int32(count))
        return held > 0 ? [.removeAll(sequence), copy] : [copy]
    }
}
