import Testing

@testable import ShoalScheduling

@Suite("Trials of groupings")
struct GroupingTrialsTests {
    private static let two = GroupingTrials.Key(sequenceCount: 8, groupCount: 2)
    private static let eight = GroupingTrials.Key(sequenceCount: 8, groupCount: 8)

    /// Lets `cycleCount` cycles of a grouping come back that take `seconds` each; the time when they are over.
    private func run(
        _ trials: inout GroupingTrials, _ key: GroupingTrials.Key, cycleCount: Int, seconds: Double, promised: Double,
        from start: Double = 0
    ) -> Double {
        let size = key.sequenceCount / key.groupCount
        for part in 1...(cycleCount * key.groupCount) {
            let now = start + seconds * Double(part) / Double(key.groupCount)
            _ = trials.tokensArrived(size, key, promisedSeconds: promised, now: .seconds(now))
        }
        return start + seconds * Double(cycleCount)
    }

    @Test("a grouping that was not tried is hoped to give more than it promises, one that was gives what it gave")
    func measured() {
        var trials = GroupingTrials()
        #expect(trials.factor(Self.two) < 1)
        _ = run(&trials, Self.two, cycleCount: 14, seconds: 0.060, promised: 0.050)
        #expect(abs(trials.factor(Self.two) - 1.2) < 0.01)
        #expect(trials.factor(Self.eight) < 1)
    }

    @Test("tokens of the grouping before, and time in which prompts were computed, are not counted")
    func interrupted() {
        var trials = GroupingTrials()
        var now = run(&trials, Self.two, cycleCount: 10, seconds: 0.050, promised: 0.050)
        trials.interrupted()
        now = run(&trials, Self.two, cycleCount: 10, seconds: 0.050, promised: 0.050, from: now + 10)
        #expect(trials.factor(Self.two) < 1)
        _ = run(&trials, Self.two, cycleCount: 4, seconds: 0.050, promised: 0.050, from: now)
        #expect(abs(trials.factor(Self.two) - 1) < 0.01)
    }

    @Test("what was seen of a grouping fades while others are in use, so that it is tried again")
    func fading() {
        var trials = GroupingTrials()
        let now = run(&trials, Self.eight, cycleCount: 14, seconds: 0.070, promised: 0.050)
        #expect(trials.factor(Self.eight) > 1.3)
        _ = run(&trials, Self.two, cycleCount: 2400, seconds: 0.050, promised: 0.050, from: now)
        #expect(trials.factor(Self.eight) < 1)
    }

    @Test("a machine that slept does not condemn a grouping for long")
    func bounded() {
        var trials = GroupingTrials()
        let now = run(&trials, Self.two, cycleCount: 14, seconds: 60, promised: 0.050)
        #expect(trials.factor(Self.two) <= 2)
        _ = run(&trials, Self.two, cycleCount: 72, seconds: 0.050, promised: 0.050, from: now)
        #expect(trials.factor(Self.two) < 1.05)
    }
}
