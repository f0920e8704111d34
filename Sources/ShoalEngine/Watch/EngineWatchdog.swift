/// Tells an engine that works, however slowly, from one that hangs or drowns, as a value. `now` is monotonic.
///
/// What counts is not how long an answer takes, which nobody knows beforehand, but whether anything moves: frames,
/// processor time, bytes read. An engine with work that shows no such sign is asked for its status, which it answers
/// after what it was given before; if it stays as it is, it hangs.
package struct EngineWatchdog: Sendable {
    /// What a process did so far: counters that only grow.
    package struct Pulse: Hashable, Sendable {
        package var processorTime: Duration
        package var readByteCount: Int64
        /// Pages that it had to wait for.
        package var majorFaultCount: Int64
        /// A signal or a debugger holds it.
        package var isStopped: Bool

        package init(
            processorTime: Duration, readByteCount: Int64 = 0, majorFaultCount: Int64 = 0, isStopped: Bool = false
        ) {
            self.processorTime = processorTime
            self.readByteCount = readByteCount
            self.majorFaultCount = majorFaultCount
            self.isStopped = isStopped
        }
    }

    /// What is too much.
    package struct Configuration: Hashable, Sendable {
        /// Between two looks.
        package var interval = Duration.seconds(1)
        /// Without any sign of life, though there is work.
        package var silenceMax = Duration.seconds(15)
        /// Without a frame, though the processor is busy: the longest micro-batch of the slowest device.
        package var answerMax = Duration.seconds(900)
        /// Spent on waiting for pages.
        package var thrashingMax = Duration.seconds(20)
        /// Pages per second, with less than `thrashingProcessorShare` of one processor used, that are thrashing.
        package var thrashingFaultsPerSecond = 100.0
        package var thrashingProcessorShare = 0.5
        /// Less processor time since the last sign of life is the noise of an idle process. One of low priority on a
        /// busy machine gets little more in a second.
        package var processorTimeMin = Duration.milliseconds(20)

        package init() {
            #if canImport(Darwin)
                // Metal compiles its shaders in another process, whose work does not show.
                silenceMax = .seconds(45)
            #endif
        }
    }

    package enum Verdict: Hashable, Sendable {
        case well
        /// Ask the engine for its status, once.
        case ask
        /// For people; the engine is to be ended.
        case hung(String)
        case thrashing(String)
    }

    package let configuration: Configuration
    private var work: Work?

    /// From the first look that found work.
    private struct Work {
        var lookedAt: Duration
        var signAt: Duration
        var heardAt: Duration
        var pulse: Pulse?
        /// As of the last sign of life.
        var processorTimeAtSign: Duration?
        var wasAsked = false
        var thrashingSince: Duration?
    }

    package init(_ configuration: Configuration) { self.configuration = configuration }

    /// A frame of the engine came.
    package mutating func heard(now: Duration) {
        work?.signAt = now
        work?.heardAt = now
        work?.wasAsked = false
    }

    /// To be called every `interval`. `pulse` is nil where the system does not tell.
    package mutating func look(hasWork: Bool, pulse: Pulse?, now: Duration) -> Verdict {
        guard hasWork else {
            work = nil
            return .well
        }
        guard var current = work else {
            work = Work(lookedAt: now, signAt: now, heardAt: now, pulse: pulse)
            return .well
        }
        defer { work = current }
        note(pulse, in: &current, now: now)
        current.lookedAt = now
        if let since = current.thrashingSince, now - since >= configuration.thrashingMax {
            return .thrashing(
                "for \(configuration.thrashingMax) it only waited for memory to come back from the disk, so it was "
                    + "ended; give this node fewer layers or a shorter context, or close other programs")
        }
        if now - current.heardAt >= configuration.answerMax {
            return .hung("it did not answer for \(configuration.answerMax), so it was ended")
        }
        guard let pulse else { return .well }
        let silence = now - current.signAt
        if silence >= configuration.silenceMax {
            let why = pulse.isStopped ? "it is stopped by a signal or a debugger" : "it does not compute either"
            return .hung("it has work and gave no sign for \(configuration.silenceMax) (\(why)), so it was ended")
        }
        guard silence >= configuration.silenceMax / 2, !current.wasAsked else { return .well }
        current.wasAsked = true
        return .ask
    }

    private func note(_ pulse: Pulse?, in work: inout Work, now: Duration) {
        defer { work.pulse = pulse }
        guard let pulse, let before = work.pulse else { return }
        let sinceSign = pulse.processorTime - (work.processorTimeAtSign ?? before.processorTime)
        work.processorTimeAtSign = work.processorTimeAtSign ?? before.processorTime
        if sinceSign >= configuration.processorTimeMin || pulse.readByteCount > before.readByteCount {
            work.signAt = now
            work.processorTimeAtSign = pulse.processorTime
        }
        let processorTime = pulse.processorTime - before.processorTime
        let seconds = (now - work.lookedAt) / .seconds(1)
        guard seconds > 0 else { return }
        let isThrashing =
            Double(pulse.majorFaultCount - before.majorFaultCount) >= configuration.thrashingFaultsPerSecond * seconds
            && processorTime / .seconds(1) < configuration.thrashingProcessorShare * seconds
        work.thrashingSince = isThrashing ? work.thrashingSince ?? work.lookedAt : nil
    }
}
