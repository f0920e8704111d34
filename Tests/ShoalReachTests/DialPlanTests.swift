import ShoalCore
import ShoalReach
import Testing

@Suite("Who dials whom")
struct DialPlanTests {
    private func plan(_ rows: [ReachRow], from: Int = 1, to: Int = 2) -> DialPlan {
        DialPlan.decide(
            from: Samples.node(from), to: Samples.node(to), matrix: Samples.matrix(rows),
            members: (1...3).map(Samples.node), name: Samples.name)
    }

    @Test("who wants the connection dials when it can")
    func direct() {
        let plan = plan([Samples.row(1, 2), Samples.row(2, 1)])
        #expect(plan.way == .dial(by: Samples.node(1), address: Samples.address(2)))
        #expect(plan.reasons.isEmpty)
    }

    @Test("a node whose inbound is dropped is asked to dial, and the reason names the address")
    func reversed() {
        let plan = plan([Samples.row(1, 2, .timedOut), Samples.row(2, 1)])
        #expect(plan.way == .dial(by: Samples.node(2), address: Samples.address(1)))
        #expect(plan.reasons == ["a cannot dial b: 10.0.0.2:7461 does not answer"])
    }

    @Test("a way without stalls is preferred to one with")
    func stalls() {
        let plan = plan([
            Samples.row(1, 2, roundTrip: 1, bulkPassed: false), Samples.row(2, 1, roundTrip: 1, bulkPassed: true),
        ])
        #expect(plan.way == .dial(by: Samples.node(2), address: Samples.address(1)))
        #expect(plan.reasons.first?.contains("stall") == true)
    }

    @Test("when neither can dial, a third node that both reach relays, whoever dials there")
    func relay() {
        let blocked = [Samples.row(1, 2, .timedOut), Samples.row(2, 1, .refused)]
        let plan = plan(blocked + [Samples.row(1, 3), Samples.row(3, 2)])
        #expect(plan.way == .relay(through: Samples.node(3)))
        #expect(plan.reasons.last == "c reaches both")
        #expect(self.plan(blocked + [Samples.row(1, 3), Samples.row(3, 2, .refused)]).way == .blocked)
    }

    @Test("of two relays the one with the shorter way is taken")
    func bestRelay() {
        let members = (1...4).map(Samples.node)
        let matrix = Samples.matrix([
            Samples.row(1, 2, .timedOut), Samples.row(2, 1, .timedOut), Samples.row(1, 3, roundTrip: 9),
            Samples.row(2, 3, roundTrip: 9), Samples.row(1, 4, roundTrip: 2), Samples.row(2, 4, roundTrip: 3),
        ])
        let plan = DialPlan.decide(
            from: Samples.node(1), to: Samples.node(2), matrix: matrix, members: members, name: Samples.name)
        #expect(plan.way == .relay(through: Samples.node(4)))
    }

    @Test("without measurements the first node tries")
    func untested() {
        #expect(plan([]).way == .untested)
        #expect(plan([Samples.row(1, 3), Samples.row(3, 2)]).way == .untested)
    }

    @Test("the report has a row per measurement and a line per pair")
    func report() {
        let matrix = Samples.cluster(but: [Samples.row(1, 2, .timedOut, at: 2000)])
        let report = ReachReport(matrix, members: (1...3).map(Samples.node), name: Samples.name)
        #expect(report.links.count == 6)
        #expect(report.links.first?.state == .timedOut)
        #expect(report.pairs.map(\.way) == [.reversed, .direct, .direct])
        #expect(report.pairs.first?.address == Samples.address(1))
    }
}
