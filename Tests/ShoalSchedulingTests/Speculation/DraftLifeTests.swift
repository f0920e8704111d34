import ShoalCore
import ShoalScheduling
import Testing

@Suite("The life of a draft model's engine")
struct DraftLifeTests {
    private let error = ShoalError(.engineLost, "the test killed it")

    private func expectFailure(of life: inout DraftLife, _ number: UInt32, isNews: Bool, now: Duration) {
        let told = life.failed(number, error, now: now)
        #expect(told == isNews)
    }

    private func expectLaunch(of life: inout DraftLife, _ number: UInt32?, now: Duration) {
        let action = life.tick(now: now)
        #expect(action == number.map(DraftLife.Action.launch))
    }

    @Test("it is started again after pauses that double up to a minute")
    func pauses() {
        var life = DraftLife()
        var now = Duration.zero
        let first = life.start()
        #expect(first == .launch(1))
        var pauses: [Int] = []
        for number in UInt32(1)...9 {
            expectFailure(of: &life, number, isNews: true, now: now)
            #expect(life.problem == error && !life.isReady)
            let failedAt = now
            var action = life.tick(now: now)
            while action == nil, now - failedAt < .seconds(100) {
                now += .seconds(1)
                action = life.tick(now: now)
            }
            #expect(action == .launch(number + 1))
            pauses.append(Int((now - failedAt) / .seconds(1)))
        }
        #expect(pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60])
        #expect(life.restartCount == 9)
    }

    @Test("one that worked for a minute is started again soon")
    func goodLife() {
        var life = DraftLife()
        _ = life.start()
        for number in UInt32(1)...3 {
            _ = life.failed(number, error, now: .seconds(10 * Int(number)))
            _ = life.tick(now: .seconds(10 * Int(number) + 9))
        }
        life.started(4, now: .seconds(100))
        #expect(life.isReady && life.problem == nil)
        expectFailure(of: &life, 4, isNews: true, now: .seconds(200))
        expectLaunch(of: &life, 5, now: .seconds(201))
    }

    @Test("news of an earlier engine, and of a stopped one, change nothing")
    func staleNews() {
        var life = DraftLife()
        _ = life.start()
        expectFailure(of: &life, 1, isNews: true, now: .zero)
        expectFailure(of: &life, 1, isNews: false, now: .zero)
        expectLaunch(of: &life, 2, now: .seconds(1))
        life.started(1, now: .seconds(2))
        #expect(!life.isReady)
        life.started(2, now: .seconds(2))
        expectFailure(of: &life, 1, isNews: false, now: .seconds(3))
        #expect(life.isReady)
        life.stop()
        expectFailure(of: &life, 2, isNews: false, now: .seconds(4))
        expectLaunch(of: &life, nil, now: .seconds(400))
    }
}
