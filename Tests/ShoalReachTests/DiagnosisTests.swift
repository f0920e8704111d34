import ShoalCore
import ShoalReach
import Testing

@Suite("What the doctor says")
struct DiagnosisTests {
    private func report(
        _ matrix: ReachMatrix = Samples.cluster(), nodes: [NodeFacts]? = nil
    ) -> DoctorReport {
        Diagnosis.report(nodes: nodes ?? (1...3).map { Samples.facts($0) }, matrix: matrix)
    }

    private func problems(_ report: DoctorReport) -> [String] {
        report.checks.filter { $0.outcome != .pass }.map { "\($0.finding); \($0.advice ?? "")" }
    }

    @Test("a healthy cluster passes every check")
    func healthy() {
        let report = report()
        #expect(!report.hasFailure)
        #expect(problems(report).isEmpty)
        #expect(report.checks.count == 5)
    }

    @Test("refused, a wrong address and a firewall give three different sentences")
    func threeFaults() throws {
        let refused = problems(report(Samples.cluster(but: [Samples.row(1, 2, .refused, at: 2000)])))
        let wrong = problems(
            report(Samples.cluster(but: [Samples.row(1, 2, .timedOut, address: "10.0.0.99:7461", at: 2000)])))
        let firewalled = problems(
            report(
                Samples.cluster(but: [
                    Samples.row(1, 2, .timedOut, at: 2000), Samples.row(3, 2, .timedOut, at: 2000),
                ])))
        #expect(refused.count == 1)
        #expect(
            try #require(refused.first).contains("a is refused by b at 10.0.0.2:7461: nothing listens on TCP port 7461")
        )
        #expect(wrong.count == 1)
        #expect(
            try #require(wrong.first).contains(
                "10.0.0.99:7461, which is not an address of b; it has 127.0.0.1, 10.0.0.2"))
        #expect(firewalled.count == 2)
        #expect(try #require(firewalled.first).contains("a gets no answer from b at 10.0.0.2:7461"))
        #expect(try #require(firewalled.first).contains("a firewall drops it; on b, allow incoming TCP port 7461"))
    }

    @Test("silence for one node only points at isolation between the two")
    func isolation() throws {
        let found = problems(report(Samples.cluster(but: [Samples.row(1, 2, .timedOut, at: 2000)])))
        #expect(found.count == 1)
        #expect(try #require(found.first).contains("c does"))
        #expect(try #require(found.first).contains("access-point isolation"))
    }

    @Test("a port that is refused names the port the node really has")
    func otherPort() throws {
        let nodes = [Samples.facts(1), Samples.facts(2) { $0.linkPort = 9000 }, Samples.facts(3)]
        let found = problems(report(Samples.cluster(but: [Samples.row(1, 2, .refused, at: 2000)]), nodes: nodes))
        #expect(try #require(found.first).contains("b listens on port 9000"))
    }

    @Test("no route, a stranger and a VPN each have their own advice")
    func otherFaults() throws {
        let unreachable = problems(report(Samples.cluster(but: [Samples.row(1, 2, .unreachable, at: 2000)])))
        #expect(try #require(unreachable.first).contains("has no way to 10.0.0.2:7461"))
        let stranger = problems(report(Samples.cluster(but: [Samples.row(1, 2, .stranger, at: 2000)])))
        #expect(try #require(stranger.first).contains("somebody else answers"))
        let nodes = [
            Samples.facts(1), Samples.facts(2) { $0.addresses.append("100.64.0.2") }, Samples.facts(3),
        ]
        let overlay = Samples.cluster(but: [Samples.row(1, 2, .timedOut, address: "100.64.0.2:7461")])
        #expect(try #require(problems(report(overlay, nodes: nodes)).first).contains("VPN"))
    }

    @Test("blocked both ways is a warning with a relay and a failure without")
    func bothBlocked() {
        let blocked = [Samples.row(1, 2, .timedOut, at: 2000), Samples.row(2, 1, .timedOut, at: 2000)]
        let relayed = report(Samples.cluster(but: blocked))
        #expect(!relayed.hasFailure)
        #expect(problems(relayed).contains { $0.contains("c passes their bytes on") })
        let alone = report(Samples.matrix(blocked), nodes: [Samples.facts(1), Samples.facts(2)])
        #expect(alone.hasFailure)
        #expect(problems(alone).contains { $0.contains("cannot connect in either direction") })
    }

    @Test("a node that is down is one line, not one per address")
    func down() throws {
        let nodes = [Samples.facts(1), Samples.facts(2) { $0.isLinked = false }, Samples.facts(3)]
        let changes = [1, 3].map { Samples.row($0, 2, .timedOut, at: 2000) }
        let found = problems(report(Samples.cluster(but: changes), nodes: nodes))
        #expect(found.count == 1)
        #expect(try #require(found.first).contains("b is not connected"))
    }

    @Test("versions, protocols, engine builds, clocks and names are compared")
    func facts() throws {
        func found(_ change: @escaping (inout NodeFacts) -> Void) throws -> (String, DoctorCheck.Outcome) {
            let report = report(nodes: [Samples.facts(1), Samples.facts(2, change), Samples.facts(3)])
            let check = try #require(report.checks.first { $0.outcome != .pass })
            return (check.finding, check.outcome)
        }
        #expect(
            try found { $0.shoalVersion = "0.2.0" } == (
                "nodes run different Shoal versions: a 0.1.0, b 0.2.0, c 0.1.0", .warning
            ))
        #expect(try found { $0.protocolNumber = 2 } == ("nodes speak different protocols: a 1, b 2, c 1", .failure))
        #expect(
            try found { $0.engineBuild = "b2" } == ("nodes have different engine builds: a b1, b b2, c b1", .failure))
        #expect(try found { $0.clockOffsetSeconds = 3600 } == ("the clock of b is 3600 s ahead", .warning))
        #expect(try found { $0.clockOffsetSeconds = -.infinity } == ("the clock of b is very far behind", .warning))
        #expect(try found { $0.name = "a" } == ("2 nodes are called a", .warning))
    }

    @Test("of the foreign workers it is said how many answer, and which do not, why")
    func foreignWorkers() {
        var workers = (1...4).map { ForeignWorkerReport(address: "10.0.0.\($0):50052") }
        #expect(Diagnosis.foreignWorkers([], of: "a").isEmpty)
        #expect(Diagnosis.foreignWorkers(workers, of: "a") == [.init(.pass, "4 of 4 foreign workers of a answer")])
        workers[2].problem = "connection refused"
        let found = Diagnosis.foreignWorkers(workers, of: "a")
        #expect(found.map(\.outcome) == [.failure])
        #expect(
            found.map(\.finding)
                == ["3 of 4 foreign workers of a answer; missing: 10.0.0.3:50052 (connection refused)"])
    }

    @Test(
        "builds of llama.cpp with a known fault are warned of, others are not",
        arguments: [
            ("b10619-c0ffee", false), ("b10620-c0ffee", true), ("b10819-c0ffee", true), ("b11434-c0ffee", false),
            ("b0-0c1e57098", false), ("fake", false), ("b99999999999999999999-a", false),
        ])
    func knownFault(build: String, isFaulty: Bool) {
        let nodes = [1, 2].map { Samples.facts($0) { $0.engineBuild = build } }
        let warnings = report(nodes: nodes).checks.filter { $0.outcome == .warning }.map(\.finding)
        #expect(warnings.count == (isFaulty ? 2 : 0))
        #expect(warnings.allSatisfy { $0.contains("engine build \(build), with which three and more workers") })
    }

    @Test("a node that listens in another network than the shared one is told where to listen")
    func wrongInterface() throws {
        let other = Samples.facts(2) { facts in
            facts.addresses = ["127.0.0.1", "10.0.0.2", "192.168.7.2"]
            facts.listensAt = ["192.168.7.2"]
        }
        let row = Samples.row(1, 2, .unreachable, address: "192.168.7.2:7461")
        let found = problems(
            report(Samples.matrix([row, Samples.row(2, 1)]), nodes: [Samples.facts(1), other]))
        #expect(found.count == 1)
        #expect(try #require(found.first).contains("b does not listen at 10.0.0.2, in the network that they share"))
        #expect(try #require(found.first).contains("--link 0.0.0.0:7461"))
    }

    @Test("a node that takes links from its own machine only is told, if there are other machines")
    func loopbackOnly() throws {
        let local = Samples.facts(1) { $0.listensAt = ["127.0.0.1"] }
        let found = problems(report(nodes: [local, Samples.facts(2), Samples.facts(3)]))
        #expect(try #require(found.first).contains("a takes links from its own machine only"))
        #expect(problems(report(nodes: [local])).isEmpty)
    }

    @Test("of a node that is away, versions are not compared")
    func awayVersions() {
        let away = Samples.facts(2) { facts in
            facts.isLinked = false
            facts.engineBuild = "old"
        }
        #expect(problems(report(nodes: [Samples.facts(1), away])).count == 1)
    }

    @Test("a stall of 10 MB is told with its length")
    func stall() throws {
        var row = Samples.row(1, 2, at: 2000, roundTrip: 5, bulkPassed: false)
        row.quality?.longestStallMilliseconds = 1234
        let found = problems(report(Samples.cluster(but: [row])))
        #expect(try #require(found.first).contains("10 MB from a to b at 10.0.0.2:7461 stalled for 1234 ms"))
    }
}
