import ShoalCore

/// News that still has to be told, each piece a number of times, in turn. Holds at most one entry per member.
struct NewsQueue: Sendable {
    private var turns: [NodeID] = []
    private var remaining: [NodeID: Int] = [:]

    var isEmpty: Bool { turns.isEmpty }

    /// Tells of `node` from the beginning: its news changed.
    mutating func add(_ node: NodeID, tellCount: Int) {
        if remaining.updateValue(tellCount, forKey: node) != nil { turns.removeAll { $0 == node } }
        turns.insert(node, at: 0)
    }

    /// The next `countMax` pieces, which then have one turn less.
    mutating func take(countMax: Int) -> [NodeID] {
        let taken = Array(turns.prefix(countMax))
        turns.removeFirst(taken.count)
        for node in taken {
            let left = (remaining[node] ?? 1) - 1
            remaining[node] = left > 0 ? left : nil
            if left > 0 { turns.append(node) }
        }
        return taken
    }
}
