package import ShoalCore

extension ReachReport {
    /// The matrix with names instead of ids, and how each pair of `members` would connect.
    package init(_ matrix: ReachMatrix, members: [NodeID], name: (NodeID) -> String) {
        let links = matrix.rows.map { row in
            var report = LinkReport(
                from: row.from, fromName: name(row.from), to: row.to, toName: name(row.to), address: row.address,
                state: row.state, checkedUnixSeconds: Int(row.measuredUnixMilliseconds / 1000))
            report.detail = row.detail
            report.roundTripMilliseconds = row.quality?.roundTripMilliseconds
            report.jitterMilliseconds = row.quality?.jitterMilliseconds
            report.bytesPerSecond = row.quality?.bytesPerSecond
            report.bulkPassed = row.quality?.bulkPassed
            report.longestStallMilliseconds = row.quality?.longestStallMilliseconds
            return report
        }
        let sorted = members.sorted()
        let pairs = sorted.indices.flatMap { index in
            sorted[(index + 1)...].map { other in
                PairReport(
                    DialPlan.decide(from: sorted[index], to: other, matrix: matrix, members: sorted, name: name),
                    name: name)
            }
        }
        self.init(links: links, pairs: pairs)
    }
}

extension PairReport {
    init(_ plan: DialPlan, name: (NodeID) -> String) {
        let way: Way
        var address: String?
        var relay: NodeID?
        switch plan.way {
        case .dial(let dialler, let target):
            way = dialler == plan.first ? .direct : .reversed
            address = target
        case .relay(let member):
            way = .relayed
            relay = member
        case .untested: way = .direct
        case .blocked: way = .blocked
        }
        self.init(
            first: plan.first, firstName: name(plan.first), second: plan.second, secondName: name(plan.second),
            way: way, reasons: plan.reasons)
        self.address = address
        relayName = relay.map(name)
    }
}
