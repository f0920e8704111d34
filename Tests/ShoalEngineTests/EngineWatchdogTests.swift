import Testing

@testable import ShoalEngine

@Suite("Whether an engine hangs")
struct EngineWatchdogTests {
    private var configuration: EngineWatchdog.Configuration {
        var configuration = EngineWatchdog.Configuration()
        configuration.silenceMax = .seconds(15)
        return configuration
    }

    /// Looks once a second, from second `first` to second `last`; the pulse is a function of the second.
    private func look(
        _ watchdog: inout EngineWatchdog, from first: Int = 0, to last: Int, hasWork: Bool = true,
        _ pulse: (Int) -> EngineWatchdog.Pulse?
    ) -> [Int: EngineWatchdog.Verdict] {
        var verdicts: [Int: EngineWatchdog.Verdict] = [:]
        for second in first...last {
            let verdict = watchdog.look(hasWork: hasWork, pulse: pulse(second), now: .seconds(second))
            if verdict != .well { verdicts[second] = verdict }
        }
        return verdicts
    }

    private func idle(_ second: Int) -> EngineWatchdog.Pulse {
        // A thread that polls once a second.
        EngineWatchdog.Pulse(processorTime: .microseconds(20 * second), majorFaultCount: 7)
    }

    @Test("an engine with work that does nothing is asked, and then hangs")
    func silent() {
        var watchdog = EngineWatchdog(configuration)
        let verdicts = look(&watchdog, to: 15, idle)
        #expect(verdicts.keys.sorted() == [8, 15])
        #expect(verdicts[8] == .ask)
        guard case .hung(let how) = verdicts[15] else { return #expect(Bool(false), "\(verdicts)") }
        #expect(how.contains("gave no sign for 15.0 seconds"))
    }

    @Test("a stopped engine is called stopped")
    func stopped() {
        var watchdog = EngineWatchdog(configuration)
        let verdicts = look(&watchdog, to: 15) { _ in
            EngineWatchdog.Pulse(processorTime: .seconds(3), isStopped: true)
        }
        guard case .hung(let how) = verdicts[15] else { return #expect(Bool(false), "\(verdicts)") }
        #expect(how.contains("stopped by a signal or a debugger"))
    }

    @Test("an engine without work may be silent for ever")
    func noWork() {
        var watchdog = EngineWatchdog(configuration)
        #expect(look(&watchdog, to: 3600, hasWork: false, idle).isEmpty)
        #expect(look(&watchdog, from: 3601, to: 3608, idle).isEmpty, "the time without work does not count")
    }

    @Test("a slow engine is patiently waited for: a frame, processor time or bytes read are signs of life")
    func slow() {
        var watchdog = EngineWatchdog(configuration)
        let computing = look(&watchdog, to: 800) { .init(processorTime: .milliseconds(30 * $0)) }
        #expect(computing.isEmpty)
        var starved = EngineWatchdog(configuration)
        // The lowest priority on a busy machine.
        let little = look(&starved, to: 800) { .init(processorTime: .milliseconds(4 * $0)) }
        #expect(little.isEmpty)
        var reading = EngineWatchdog(configuration)
        // A disk that gives a piece every ten seconds.
        let verdicts = look(&reading, to: 800) { .init(processorTime: .zero, readByteCount: Int64($0 / 10)) }
        #expect(verdicts.values.allSatisfy { $0 == .ask })
        var answering = EngineWatchdog(configuration)
        for second in stride(from: 0, to: 600, by: 7) {
            #expect(look(&answering, from: second, to: second + 6, idle).isEmpty)
            answering.heard(now: .seconds(second + 7))
        }
    }

    @Test("an engine that computes without end hangs, too")
    func endless() {
        var watchdog = EngineWatchdog(configuration)
        let verdicts = look(&watchdog, to: 900) { .init(processorTime: .seconds($0)) }
        #expect(verdicts.keys.sorted() == [900])
    }

    @Test("where the system tells nothing, only the longest patience applies")
    func unknown() {
        var watchdog = EngineWatchdog(configuration)
        let verdicts = look(&watchdog, to: 900) { _ in nil }
        #expect(verdicts.keys.sorted() == [900])
    }

    @Test("an engine that only waits for pages is ended for lack of memory, one that reads its libraries is not")
    func thrashing() {
        var swapping = EngineWatchdog(configuration)
        let verdicts = look(&swapping, to: 21) {
            .init(processorTime: .milliseconds(100 * $0), majorFaultCount: Int64(300 * $0))
        }
        guard case .thrashing = verdicts[20] else { return #expect(Bool(false), "\(verdicts)") }
        var starting = EngineWatchdog(configuration)
        let start = look(&starting, to: 60) {
            .init(processorTime: .milliseconds(100 * $0), majorFaultCount: Int64(min(300 * $0, 3000)))
        }
        #expect(start.isEmpty)
        var busy = EngineWatchdog(configuration)
        let work = look(&busy, to: 60) {
            .init(processorTime: .milliseconds(900 * $0), majorFaultCount: Int64(300 * $0))
        }
        #expect(work.isEmpty, "the processor is busy all the same")
    }
}
