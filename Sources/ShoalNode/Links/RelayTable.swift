import ShoalCore
import ShoalLinks

/// The connections that this node passes on between two others, and those that it is going to. Pure; time is a
/// parameter.
struct RelayTable<End> {
    enum Joined {
        /// The other half has not come yet.
        case waits
        /// Both are here; `other` came first.
        case complete(other: End)
    }

    private struct Relay {
        var nodes: Set<NodeID>
        var deadline: Duration
        var ends: [(node: NodeID, end: End)] = []
    }

    static var countMax: Int { 64 }
    static var countPerNodeMax: Int { 16 }

    private var relays: [LinkToken: Relay] = [:]

    var count: Int { relays.count }

    /// Agrees to pass bytes on between two nodes that come with `token` until `deadline`. Throws `overloaded`, and
    /// `invalidRequest` for a token that is in use or a node that wants to be linked with itself.
    mutating func open(
        _ token: LinkToken, between one: NodeID, and other: NodeID, until deadline: Duration
    ) throws(ShoalError) {
        guard one != other, relays[token] == nil else {
            throw ShoalError(.invalidRequest, "this connection cannot be passed on")
        }
        let busiest = max(count(of: one), count(of: other))
        guard relays.count < Self.countMax, busiest < Self.countPerNodeMax else {
            throw ShoalError(
                .overloaded, "\(relays.count) connections are passed on already, \(busiest) of them for one node")
        }
        relays[token] = Relay(nodes: [one, other], deadline: deadline)
    }

    /// One of the two has connected. Throws `notFound` for a token that is unknown, late or not this node's.
    mutating func join(_ token: LinkToken, from node: NodeID, end: End, now: Duration) throws(ShoalError) -> Joined {
        guard let relay = relays[token], relay.nodes.contains(node), now <= relay.deadline,
            !relay.ends.contains(where: { $0.node == node })
        else { throw ShoalError(.notFound, "nobody agreed to pass this connection on, or not any more") }
        relays[token]?.ends.append((node, end))
        return relay.ends.first.map { .complete(other: $0.end) } ?? .waits
    }

    /// A relay that is over, or that nobody wants any more; returns its halves.
    mutating func remove(_ token: LinkToken) -> [End] { relays.removeValue(forKey: token)?.ends.map(\.end) ?? [] }

    /// Ends everything; returns all halves.
    mutating func removeAll() -> [End] {
        defer { relays = [:] }
        return relays.values.flatMap { $0.ends.map(\.end) }
    }

    /// Removes relays that did not become complete in time; returns the halves that waited.
    mutating func expire(now: Duration) -> [End] {
        let late = relays.filter { $0.value.ends.count < 2 && $0.value.deadline < now }
        for token in late.keys { relays[token] = nil }
        return late.values.flatMap { $0.ends.map(\.end) }
    }

    private func count(of node: NodeID) -> Int { relays.values.count { $0.nodes.contains(node) } }
}
