import ShoalCore
import ShoalReach
import Testing

/// Nodes a, b, c at 10.0.0.1, .2, .3, link port 7461.
enum Samples {
    static func node(_ number: Int) -> NodeID { NodeID("0\(number)") ?? .random() }

    static func name(_ node: NodeID) -> String {
        ["01": "a", "02": "b", "03": "c"][node.rawValue] ?? node.rawValue
    }

    static func address(_ number: Int) -> String { "10.0.0.\(number):7461" }

    static func row(
        _ from: Int, _ to: Int, _ state: ReachState = .open, address: String? = nil, at milliseconds: Int64 = 1000,
        roundTrip: Double? = nil, bulkPassed: Bool? = nil
    ) -> ReachRow {
        var quality = LinkQuality(pings: roundTrip.map { [.microseconds(Int64($0 * 1000))] } ?? [])
        quality?.bulkPassed = bulkPassed
        return ReachRow(
            from: node(from), to: node(to), address: address ?? self.address(to), state: state, quality: quality,
            measuredUnixMilliseconds: milliseconds)
    }

    static func matrix(_ rows: [ReachRow]) -> ReachMatrix {
        var matrix = ReachMatrix()
        matrix.merge(rows)
        return matrix
    }

    static func facts(_ number: Int, _ change: (inout NodeFacts) -> Void = { _ in }) -> NodeFacts {
        var facts = NodeFacts(
            id: node(number), name: name(node(number)), shoalVersion: "0.1.0", protocolNumber: 1, engineBuild: "b1",
            addresses: ["127.0.0.1", "10.0.0.\(number)"], linkPort: 7461, isLinked: true, clockOffsetSeconds: 0)
        change(&facts)
        return facts
    }

    /// Everybody reaches everybody, but for `changes`.
    static func cluster(but changes: [ReachRow] = []) -> ReachMatrix {
        var rows: [ReachRow] = []
        for from in 1...3 { for to in 1...3 where from != to { rows.append(row(from, to, roundTrip: 1)) } }
        return matrix(rows + changes)
    }
}
