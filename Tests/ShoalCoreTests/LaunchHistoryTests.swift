import ShoalCore
import Testing

@Suite("How long launches usually take")
struct LaunchHistoryTests {
    private let node = NodeID("00ff") ?? .random()

    /// An instance that has become ready after loading and warming for so many seconds.
    private func launched(
        _ loading: Double, _ warming: Double = 0.1, model: String = "tiny", recovered: Bool = false
    ) -> InstanceReport {
        var phases = PhaseHistory(phase: .loading, recordCountMax: 8, now: .zero)
        if recovered { phases.enter(.recovering, now: .zero) }
        phases.enter(.warming, now: .seconds(loading))
        phases.enter(.ready, now: .seconds(loading + warming))
        var report = InstanceReport(
            id: .random(), model: model, family: "llama", head: node, headName: "a", phase: .ready, stages: [],
            contextTokenCount: 1024, sequenceCountMax: 4, createdUnixSeconds: 0)
        report.phases = phases.reports
        return report
    }

    @Test("a phase that takes more than twice its median, and a second more, is told; the others are not")
    func slow() {
        var history = LaunchHistory()
        for seconds in [3.0, 2.0, 4.0] { #expect(history.observe(launched(seconds)) == nil) }
        #expect(history.observe(launched(5.9, 0.9)) == nil, "0.9 s is nine times 0.1 s, and nothing that anybody feels")
        #expect(
            history.observe(launched(9, 2)) == "slow to start: loading took 9.0 s, usually 4.0 s, "
                + "warming took 2.0 s, usually 0.1 s")
    }

    @Test("too few launches, and launches of something else, are no measure")
    func comparable() {
        var history = LaunchHistory()
        for _ in 0..<2 { #expect(history.observe(launched(1)) == nil) }
        #expect(history.observe(launched(100)) == nil)
        #expect(history.observe(launched(100, model: "other")) == nil)
        var longer = launched(100)
        longer.contextTokenCount = 4096
        #expect(history.observe(longer) == nil)
    }

    @Test("a launch that had to recover is neither judged nor remembered")
    func recovered() {
        var history = LaunchHistory()
        for _ in 0..<3 { #expect(history.observe(launched(100, recovered: true)) == nil) }
        for _ in 0..<3 { #expect(history.observe(launched(1)) == nil) }
        #expect(history.observe(launched(100, recovered: true)) == nil)
        #expect(history.observe(launched(5)) == "slow to start: loading took 5.0 s, usually 1.0 s")
    }

    @Test("what is launched often is remembered, what was not for long gives way")
    func bounded() {
        var history = LaunchHistory()
        for _ in 0..<3 { _ = history.observe(launched(1, model: "old")) }
        for number in 0..<LaunchHistory.kindCountMax { _ = history.observe(launched(1, model: "\(number)")) }
        #expect(history.observe(launched(100, model: "old")) == nil)
        for _ in 0..<LaunchHistory.launchCountMax { _ = history.observe(launched(10)) }
        #expect(history.observe(launched(25)) == "slow to start: loading took 25.0 s, usually 10.0 s")
    }
}
