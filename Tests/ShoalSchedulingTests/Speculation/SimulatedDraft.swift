import ShoalCore

/// A draft model's cache, and what it would answer. Checks that what it is asked continues what it holds.
struct SimulatedDraft {
    private(set) var cells: [SequenceID: [TokenID]] = [:]
    private(set) var violations: [String] = []
    private(set) var batchCount = 0
    private(set) var tokenCount = 0

    mutating func reset() { cells = [:] }

    /// The tokens that each entry that wants an output stands behind.
    mutating func compute(_ batch: MicroBatch) -> [(sequence: SequenceID, tokens: [TokenID])] {
        batchCount += 1
        tokenCount += batch.entries.count
        for operation in batch.kvOperations {
            guard case .remove(let sequence, let from, .max) = operation else {
                violations.append("the draft model is told to \(operation)")
                continue
            }
            let held = cells[sequence, default: []]
            if Int(from) >= held.count { violations.append("removes from \(from), but \(held.count) are held") }
            cells[sequence] = Array(held.prefix(Int(from)))
        }
        var asked: [(sequence: SequenceID, tokens: [TokenID])] = []
        for entry in batch.entries {
            if Int(entry.position) != cells[entry.sequence, default: []].count {
                violations.append("position \(entry.position) does not follow in sequence \(entry.sequence)")
            }
            cells[entry.sequence, default: []].append(entry.token)
            if entry.wantsOutput { asked.append((entry.sequence, cells[entry.sequence, default: []])) }
        }
        if batch.entries.isEmpty { violations.append("an empty micro-batch") }
        return asked
    }
}
