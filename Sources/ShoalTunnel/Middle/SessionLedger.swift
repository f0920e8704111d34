internal import ShoalRPC
internal import Synchronization

/// The sessions of one end of a tunnel: what they count, and how they are closed from outside.
///
/// A session writes its own counters whenever it has done something; reading them costs it nothing.
final class SessionLedger: Sendable {
    private struct State {
        var finished = TunnelCounters()
        var open: [Int: Session] = [:]
        var isClosed = false
    }

    private struct Session {
        var counters = TunnelCounters()
        var close: @Sendable () -> Void
    }

    private let state = Mutex(State())

    /// Returns the session's number; nil when there are too many, or the end is closed. `close` may be called on any
    /// thread.
    func begin(close: @escaping @Sendable () -> Void) -> Int? {
        state.withLock { state in
            guard !state.isClosed, state.open.count < TunnelLimits.sessionCountMax else { return nil }
            state.finished.sessionCount += 1
            let number = state.finished.sessionCount
            state.open[number] = Session(close: close)
            return number
        }
    }

    func update(_ number: Int, _ counters: TunnelCounters) {
        state.withLock { $0.open[number]?.counters = counters }
    }

    func end(_ number: Int, _ counters: TunnelCounters) {
        state.withLock { state in
            guard state.open.removeValue(forKey: number) != nil else { return }
            var counters = counters
            counters.unansweredSince = nil
            counters.isPassThrough = false
            state.finished = state.finished + counters
        }
    }

    func note(error: String) { state.withLock { $0.finished.lastError = error } }

    /// Whether a session is the only one, and others may come.
    func isAlone(_ number: Int) -> Bool {
        state.withLock { !$0.isClosed && $0.open.count == 1 && $0.open[number] != nil }
    }

    var counters: TunnelCounters {
        state.withLock { state in
            var sum = state.open.values.reduce(state.finished) { $0 + $1.counters }
            sum.openSessionCount = state.open.count
            return sum
        }
    }

    /// No session begins afterwards, and those that are open end.
    func close() {
        let closers = state.withLock { state in
            state.isClosed = true
            return state.open.values.map(\.close)
        }
        for close in closers { close() }
    }
}
