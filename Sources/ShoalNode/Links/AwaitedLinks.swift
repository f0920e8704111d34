import ShoalCore
import ShoalLinks

/// Connections that were asked of other nodes and have not come yet: each has a token, which one node may present
/// once, in time. Pure; time is a parameter.
struct AwaitedLinks<Waiter> {
    /// One connection, for one use.
    struct Entry {
        var node: NodeID
        var deadline: Duration
        var waiter: Waiter
    }

    static var countMax: Int { 256 }
    static var countPerNodeMax: Int { 32 }

    private var entries: [LinkToken: Entry] = [:]

    var count: Int { entries.count }

    /// Throws `overloaded` when too many are awaited.
    mutating func expect(
        _ token: LinkToken, from node: NodeID, until deadline: Duration, waiter: Waiter
    ) throws(ShoalError) {
        guard entries.count < Self.countMax, entries.values.count(where: { $0.node == node }) < Self.countPerNodeMax
        else { throw ShoalError(.overloaded, "\(entries.count) connections are awaited already; try later") }
        entries[token] = Entry(node: node, deadline: deadline, waiter: waiter)
    }

    /// The waiter of a token, which is worth nothing afterwards. Throws `notFound` for a token that is unknown, used,
    /// late, or another node's; in the last case its own node may still come.
    mutating func take(_ token: LinkToken, presentedBy node: NodeID, now: Duration) throws(ShoalError) -> Waiter {
        guard let entry = entries[token], entry.node == node, now <= entry.deadline else {
            throw ShoalError(.notFound, "nobody waits for this connection: its token is unknown, used or too old")
        }
        entries[token] = nil
        return entry.waiter
    }

    /// Gives up on a token.
    mutating func forget(_ token: LinkToken) { entries[token] = nil }

    /// Removes and returns those who waited too long.
    mutating func expire(now: Duration) -> [Waiter] {
        let late = entries.filter { $0.value.deadline < now }
        for token in late.keys { entries[token] = nil }
        return late.values.map(\.waiter)
    }
}
