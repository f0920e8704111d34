import ShoalLaunch
import Testing

@Suite("The compute watchdog")
struct ComputeWatchdogTests {
    private func watchdog(blind: Bool = false) -> ComputeWatchdog {
        ComputeWatchdog(hasBlindSpot: blind, now: .zero)
    }

    @Test("a loop that answers is alive, whatever else stands still")
    func answering() {
        var watchdog = watchdog()
        for second in 1...600 { watchdog.loopAnswered(now: .seconds(second)) }
        #expect(!watchdog.isHung(now: .seconds(610)))
    }

    @Test("a long batch on a slow worker is work: its processor is busy")
    func slowWorker() {
        var watchdog = watchdog()
        for second in 1...600 { watchdog.processorsUsed(Double(second) * 0.9, now: .seconds(second)) }
        #expect(!watchdog.isHung(now: .seconds(600)))
    }

    @Test("bytes through a tunnel are work")
    func bytes() {
        var watchdog = watchdog()
        for second in 1...600 { watchdog.tunnelsCarried(second * 10, now: .seconds(second)) }
        #expect(!watchdog.isHung(now: .seconds(600)))
    }

    @Test("health checks alone, a little processor time and the same bytes are no life")
    func frozen() {
        var watchdog = watchdog()
        for second in 1...15 {
            watchdog.processorsUsed(Double(second) * 0.01, now: .seconds(second))
            watchdog.tunnelsCarried(0, now: .seconds(second))
        }
        #expect(!watchdog.isHung(now: .seconds(15)))
        #expect(watchdog.isHung(now: .seconds(16)))
        #expect(watchdog.silence(now: .seconds(16)) == .seconds(16))
    }

    @Test("where a worker's processor cannot be seen, more patience is needed")
    func blind() {
        let watchdog = watchdog(blind: true)
        #expect(!watchdog.isHung(now: .seconds(119)))
        #expect(watchdog.isHung(now: .seconds(121)))
    }
}
