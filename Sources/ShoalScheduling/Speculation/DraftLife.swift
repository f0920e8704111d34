package import ShoalCore

/// When the draft model's engine is started, and started again: with growing pauses, for ever, because answers go on
/// without it.
package struct DraftLife: Sendable {
    /// What is to be done.
    package enum Action: Hashable, Sendable {
        /// Start the engine and load the draft model, then say `started` or `failed` with this number.
        case launch(UInt32)
    }

    private enum State: Sendable {
        case starting
        case ready(since: Duration)
        case waiting(until: Duration)
        case stopped
    }

    /// The pause after the first failure; each further one doubles it.
    private static let firstPause = Duration.seconds(1)
    private static let pauseMax = Duration.seconds(60)
    /// A failure after this long counts as a first one.
    private static let goodLife = Duration.seconds(60)

    private var state = State.stopped
    private var failureCount = 0
    /// Of the latest launch.
    package private(set) var number: UInt32 = 0
    package private(set) var restartCount = 0
    /// Why it is not ready; nil while it is, or was never tried.
    package private(set) var problem: ShoalError?

    package init() {}

    package var isReady: Bool {
        if case .ready = state { true } else { false }
    }

    /// Whether this launch is still the one that is wanted.
    package func isStarting(_ number: UInt32) -> Bool {
        if case .starting = state { number == self.number } else { false }
    }

    /// What a person is told.
    package var phase: InstancePhase {
        switch state {
        case .starting: .loading
        case .ready: .ready
        case .waiting: .recovering
        case .stopped: .stopped
        }
    }

    package mutating func start() -> Action { launch() }

    package mutating func started(_ number: UInt32, now: Duration) {
        guard case .starting = state, number == self.number else { return }
        state = .ready(since: now)
        problem = nil
    }

    /// The launch failed, or the engine is lost. False for what is no news.
    package mutating func failed(_ number: UInt32, _ error: ShoalError, now: Duration) -> Bool {
        guard number == self.number else { return false }
        switch state {
        case .starting: break
        case .ready(let since): if now - since >= Self.goodLife { failureCount = 0 }
        case .waiting, .stopped: return false
        }
        problem = error
        let pause = min(Self.pauseMax, Self.firstPause * (1 << min(failureCount, 10)))
        failureCount += 1
        state = .waiting(until: now + pause)
        return true
    }

    /// Now and then.
    package mutating func tick(now: Duration) -> Action? {
        guard case .waiting(let until) = state, now >= until else { return nil }
        restartCount += 1
        return launch()
    }

    package mutating func stop() { state = .stopped }

    private mutating func launch() -> Action {
        number += 1
        state = .starting
        return .launch(number)
    }
}
