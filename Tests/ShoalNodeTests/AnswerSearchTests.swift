import ShoalCore
import Testing

@testable import ShoalNode

@Suite("Who goes on with a lost answer")
struct AnswerSearchTests {
    private let cause = ShoalError(.linkLost, "the head is gone")

    private var search: AnswerSearch {
        var limits = NodeLimits()
        limits.lostAnswerDeadline = .seconds(100)
        limits.lostAnswerUnplacedDeadline = .seconds(10)
        return AnswerSearch(cause: cause, limits: limits)
    }

    private func instance(_ phase: InstancePhase, problem: String? = nil) -> InstanceReport {
        var report = InstanceReport(
            id: .random(), model: "tiny", family: "", head: .random(), headName: "a", phase: phase, stages: [],
            contextTokenCount: 0, sequenceCountMax: 0, createdUnixSeconds: 0)
        report.problem = problem
        return report
    }

    /// "ask", "wait", or the error's sentence.
    private func next(_ search: inout AnswerSearch, _ candidates: [InstanceReport], _ seconds: Int) -> String {
        switch search.next(among: candidates, now: .seconds(seconds)) {
        case .ask: "ask"
        case .wait: "wait"
        case .giveUp(let error): error.message
        }
    }

    @Test("an instance that serves is asked, one that loads or recovers is waited for, until the deadline")
    func waits() {
        var search = search
        #expect(next(&search, [instance(.loading)], 0) == "wait")
        #expect(next(&search, [instance(.recovering), instance(.ready)], 1) == "ask")
        #expect(next(&search, [instance(.recovering)], 99) == "wait")
        #expect(next(&search, [instance(.recovering)], 100).contains("no instance went on"))
    }

    @Test("a model that cannot be placed is waited for a while only, counted anew after each attempt")
    func unplaced() {
        var search = search
        let waiting = [instance(.waiting, problem: "missing: b")]
        #expect(next(&search, waiting, 0) == "wait")
        #expect(next(&search, [instance(.loading)], 9) == "wait")
        #expect(next(&search, waiting, 12) == "wait")
        #expect(next(&search, waiting, 21) == "wait")
        #expect(next(&search, waiting, 22) == "the head is gone; no other node can go on: missing: b")
    }

    @Test("a model that nobody wants, or that was given up, ends the answer at once")
    func hopeless() {
        var search = search
        #expect(next(&search, [], 0) == "the head is gone")
        #expect(next(&search, [instance(.failed, problem: "no")], 0).contains("given up: no"))
    }

    @Test("a refusal because of the moment is no end, one because of the request is")
    func refusals() {
        guard case .wait = search.refused(ShoalError(.unavailable, "loading")),
            case .giveUp(let error) = search.refused(ShoalError(.contextOverflow, "too long"))
        else {
            Issue.record("the other way round")
            return
        }
        #expect(error.code == .contextOverflow)
    }
}
