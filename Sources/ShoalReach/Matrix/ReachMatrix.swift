package import ShoalCore

/// Who reaches whom at which address: rows of all nodes, merged by (from, to, address), newest wins. A value.
///
/// Merging is commutative, associative and idempotent, so rows may be gossiped in any order and any number of times.
package struct ReachMatrix: Hashable, Sendable {
    /// Addresses of one node that another one keeps results for.
    package static let addressesPerPairMax = 8
    /// All rows: 32 nodes that know two addresses of each other, or many more with one.
    package static let rowCountMax = 8192

    private struct Key: Hashable, Sendable {
        var from: NodeID
        var to: NodeID
        var address: String
    }

    private var byKey: [Key: ReachRow] = [:]

    package init() {}

    /// Sorted by from, to and address.
    package var rows: [ReachRow] {
        byKey.values.sorted { ($0.from, $0.to, $0.address) < ($1.from, $1.to, $1.address) }
    }

    /// What `from` knows about `to`, best address first.
    package func rows(from: NodeID, to: NodeID) -> [ReachRow] {
        byKey.values.filter { $0.from == from && $0.to == to }.sorted(by: Self.isBetter)
    }

    /// The best open address from one node to another.
    package func best(from: NodeID, to: NodeID) -> ReachRow? {
        rows(from: from, to: to).first { $0.state == .open }
    }

    /// What a node measured itself, to be told to the others.
    package func rows(measuredBy node: NodeID) -> [ReachRow] { rows.filter { $0.from == node } }

    /// Takes rows over; implausible ones are dropped. True when anything changed.
    @discardableResult
    package mutating func merge(_ rows: some Sequence<ReachRow>) -> Bool {
        var hasChanged = false
        for row in rows where row.isPlausible { hasChanged = merge(row) || hasChanged }
        return hasChanged
    }

    /// Takes over all rows that `node` has: others of it are out of date.
    package mutating func replace(rowsOf node: NodeID, with rows: some Sequence<ReachRow>) {
        let rows = rows.filter { $0.from == node }
        let kept = Set(rows.map { Key(from: $0.from, to: $0.to, address: $0.address) })
        byKey = byKey.filter { $0.key.from != node || kept.contains($0.key) }
        merge(rows)
    }

    /// Removes rows of `from` about addresses that `to` no longer has and that are not open either.
    package mutating func forgetClosed(from: NodeID, to: NodeID, besides addresses: Set<String>) {
        byKey = byKey.filter { key, row in
            key.from != from || key.to != to || row.state == .open || addresses.contains(key.address)
        }
    }

    /// Removes what is known of nodes that are no longer members.
    package mutating func keep(only members: Set<NodeID>) {
        byKey = byKey.filter { members.contains($0.key.from) && members.contains($0.key.to) }
    }

    private mutating func merge(_ row: ReachRow) -> Bool {
        let key = Key(from: row.from, to: row.to, address: row.address)
        if let known = byKey[key] {
            guard Self.isNewer(row, than: known) else { return false }
        } else if byKey.count >= Self.rowCountMax || isPairFull(row) {
            let rivals = isPairFull(row) ? rows(from: row.from, to: row.to) : Array(byKey.values)
            guard let oldest = rivals.min(by: { Self.isNewer($1, than: $0) }), Self.isNewer(row, than: oldest) else {
                return false
            }
            byKey[Key(from: oldest.from, to: oldest.to, address: oldest.address)] = nil
        }
        byKey[key] = row
        return true
    }

    private func isPairFull(_ row: ReachRow) -> Bool {
        rows(from: row.from, to: row.to).count >= Self.addressesPerPairMax
    }

    /// A total order, so that every node keeps the same row of two with one time.
    private static func isNewer(_ left: ReachRow, than right: ReachRow) -> Bool {
        guard left.measuredUnixMilliseconds == right.measuredUnixMilliseconds else {
            return left.measuredUnixMilliseconds > right.measuredUnixMilliseconds
        }
        return tieBreak(left) > tieBreak(right)
    }

    private static func tieBreak(_ row: ReachRow) -> (String, String, String, Double) {
        (row.state.rawValue, row.address, row.detail ?? "", row.quality?.roundTripMilliseconds ?? -1)
    }

    /// Open before anything else, then without stalls, then fast.
    private static func isBetter(_ left: ReachRow, _ right: ReachRow) -> Bool { rank(left) < rank(right) }

    private static func rank(_ row: ReachRow) -> (Int, Int, Double, Double, String) {
        (
            row.state == .open ? 0 : 1, row.quality?.bulkPassed == false ? 1 : 0,
            row.quality?.roundTripMilliseconds ?? 1e9, -(row.quality?.bytesPerSecond ?? 0), row.address
        )
    }
}
