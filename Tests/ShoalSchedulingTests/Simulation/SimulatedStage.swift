import ShoalCore

/// One stage's KV cache, as exact as libllama's: which tokens each sequence holds, and what may be done to them.
struct SimulatedStage {
    /// What a sequence's cells hold.
    enum Cells: Equatable {
        case tokens([TokenID])
        /// A failed micro-batch left them in an unknown state.
        case unknown(count: Int)

        var count: Int {
            switch self {
            case .tokens(let tokens): tokens.count
            case .unknown(let count): count
            }
        }
    }

    let isRecurrent: Bool
    /// Nothing ever fails here, so whatever does not fit is the scheduler's fault. Else sequences that a failure left
    /// in different states may be computed on until the head hears of it.
    let isStrict: Bool
    private(set) var cells: [SequenceID: Cells] = [:]
    private(set) var violations: [String] = []

    init(isRecurrent: Bool, isStrict: Bool) {
        self.isRecurrent = isRecurrent
        self.isStrict = isStrict
    }

    var cellCount: Int { cells.values.reduce(0) { $0 + $1.count } }

    mutating func clear() { cells = [:] }

    mutating func apply(_ operation: KVOperation) {
        switch operation {
        case .remove(let sequence, from: 0, to: .max):
            cells[sequence] = nil
        case .remove(let sequence, let from, let to):
            if isRecurrent || to != .max { violations.append("\(operation) cannot be done") }
            switch cells[sequence] {
            case .tokens(let tokens): cells[sequence] = .tokens(Array(tokens.prefix(Int(from))))
            case .unknown, nil: doubt("\(operation) of cells that nobody knows")
            }
        case .copy(let source, let destination, let from, let to):
            if cells[destination] != nil { doubt("\(operation) onto cells") }
            switch cells[source] {
            case .tokens(let tokens):
                if from != 0 || (isRecurrent && Int(to) < tokens.count) || Int(to) > tokens.count {
                    doubt("\(operation) of \(tokens.count) cells")
                }
                cells[destination] = .tokens(Array(tokens.prefix(Int(to))))
            case .unknown, nil: cells[destination] = .unknown(count: Int(to))
            }
        case .keep, .clear:
            violations.append("\(operation) was never asked for")
        }
    }

    private mutating func doubt(_ what: String) {
        if isStrict { violations.append(what) }
    }

    /// Adds the entries and returns each one's history, nil where it is unknown. Nil, and nothing changed, when a
    /// position is not the next one: libllama refuses the whole micro-batch then.
    mutating func append(_ entries: [BatchEntry]) -> [[TokenID]?]? {
        var next = cells.mapValues(\.count)
        for entry in entries {
            let count = next[entry.sequence] ?? 0
            guard count == Int(entry.position) else {
                doubt("sequence \(entry.sequence) has \(count) cells and gets position \(entry.position)")
                return nil
            }
            next[entry.sequence] = count + 1
        }
        return entries.map { append($0) }
    }

    private mutating func append(_ entry: BatchEntry) -> [TokenID]? {
        switch cells[entry.sequence] ?? .tokens([]) {
        case .tokens(var tokens):
            tokens.append(entry.token)
            cells[entry.sequence] = .tokens(tokens)
            return tokens
        case .unknown(let count):
            cells[entry.sequence] = .unknown(count: count + 1)
            return nil
        }
    }

    /// A micro-batch failed here: operations may be applied or not, entries may be there or not.
    mutating func spoil(_ batch: MicroBatch, using generator: inout SeededGenerator) {
        for operation in batch.kvOperations where generator.chance(50) {
            switch operation {
            case .remove(let sequence, from: 0, to: .max): cells[sequence] = nil
            case .remove(let sequence, _, _): cells[sequence] = .unknown(count: cells[sequence]?.count ?? 0)
            case .copy(_, let destination, _, let to): cells[destination] = .unknown(count: Int(to))
            case .keep, .clear: break
            }
        }
        for entry in batch.entries where generator.chance(70) {
            cells[entry.sequence] = .unknown(count: Int(entry.position) + 1)
        }
    }
}
