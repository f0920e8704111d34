package import ShoalCore

/// How a data connection between two nodes is made, and why.
package struct DialPlan: Hashable, Sendable {
    /// Who dials whom.
    package enum Way: Hashable, Sendable {
        /// `by` dials `address` of the other. When `by` is not the node that wants the connection, it is asked over its
        /// control link, with a one-time token that the dial then presents.
        case dial(by: NodeID, address: String)
        /// Both sides connect to `through`, which passes on ciphertext.
        case relay(through: NodeID)
        /// Nobody has tried yet: the first node dials whatever addresses it knows.
        case untested
        /// There is no way.
        case blocked
    }

    package var first: NodeID
    package var second: NodeID
    package var way: Way
    package var reasons: [String]

    package init(first: NodeID, second: NodeID, way: Way, reasons: [String]) {
        self.first = first
        self.second = second
        self.way = way
        self.reasons = reasons
    }

    /// Decides for a connection that `first` wants to `second`. `name` turns ids into names for the reasons; `members`
    /// are the nodes that may relay.
    package static func decide(
        from first: NodeID, to second: NodeID, matrix: ReachMatrix, members: [NodeID], name: (NodeID) -> String
    ) -> DialPlan {
        let forward = matrix.rows(from: first, to: second)
        let backward = matrix.rows(from: second, to: first)
        if let row = direct(forward, backward) {
            let isReversed = row.from == second
            let reasons = isReversed ? [whyReversed(forward, row, name)] : []
            return DialPlan(
                first: first, second: second, way: .dial(by: row.from, address: row.address), reasons: reasons)
        }
        guard !forward.isEmpty || !backward.isEmpty else {
            return DialPlan(first: first, second: second, way: .untested, reasons: ["nothing was measured yet"])
        }
        let blocked = [words(forward, first, second, name), words(backward, second, first, name)]
        if let relay = relay(first, second, matrix, members) {
            let reason = "\(name(relay)) reaches both"
            return DialPlan(first: first, second: second, way: .relay(through: relay), reasons: blocked + [reason])
        }
        return DialPlan(
            first: first, second: second, way: .blocked, reasons: blocked + ["no third node reaches both"])
    }

    /// The node that wants the connection dials, unless only the other can, or the other's way is free of stalls and
    /// its own is not.
    private static func direct(_ forward: [ReachRow], _ backward: [ReachRow]) -> ReachRow? {
        let there = forward.first { $0.state == .open }
        let back = backward.first { $0.state == .open }
        guard let there else { return back }
        guard let back, there.quality?.bulkPassed == false, back.quality?.bulkPassed == true else { return there }
        return back
    }

    private static func whyReversed(_ forward: [ReachRow], _ chosen: ReachRow, _ name: (NodeID) -> String) -> String {
        if let open = forward.first(where: { $0.state == .open }) {
            return "10 MB stall on the way to \(open.address), not on the way back"
        }
        return words(forward, chosen.to, chosen.from, name)
    }

    private static func words(
        _ rows: [ReachRow], _ from: NodeID, _ to: NodeID, _ name: (NodeID) -> String
    ) -> String {
        guard !rows.isEmpty else { return "\(name(from)) knows no address of \(name(to))" }
        let tries = rows.map { "\($0.address) \(verb($0.state))" }.joined(separator: ", ")
        return "\(name(from)) cannot dial \(name(to)): \(tries)"
    }

    private static func verb(_ state: ReachState) -> String {
        switch state {
        case .open: "is open"
        case .refused: "refuses"
        case .timedOut: "does not answer"
        case .unreachable: "is unreachable"
        case .stranger: "is somebody else"
        }
    }

    /// The member with the shortest way to both; a node can be reached when either side can dial the other.
    private static func relay(
        _ first: NodeID, _ second: NodeID, _ matrix: ReachMatrix, _ members: [NodeID]
    ) -> NodeID? {
        let reachable = members.filter { $0 != first && $0 != second }.compactMap { member -> (Double, NodeID)? in
            guard let one = roundTrip(first, member, matrix), let other = roundTrip(member, second, matrix) else {
                return nil
            }
            return (one + other, member)
        }
        return reachable.min { ($0.0, $0.1) < ($1.0, $1.1) }?.1
    }

    /// Nil when neither can dial the other. An open way that was not timed counts as a slow one.
    private static func roundTrip(_ one: NodeID, _ other: NodeID, _ matrix: ReachMatrix) -> Double? {
        let open = [matrix.best(from: one, to: other), matrix.best(from: other, to: one)].compactMap(\.self)
        return open.map { $0.quality?.roundTripMilliseconds ?? 1000 }.min()
    }
}
