internal import Synchronization

/// Wakes those who wait for a condition whenever something may have changed it. Any thread.
package final class ChangeSignal: Sendable {
    private struct State {
        var count = 0
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    package init() {}

    package func change() {
        let woken = state.withLock { state in
            state.count += 1
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in woken { waiter.resume() }
    }

    /// Returns once `condition` holds; looks again after every change. A test that waits for what never comes hangs, so
    /// such tests carry a time limit.
    package func wait(until condition: () async throws -> Bool) async rethrows {
        while true {
            let seen = state.withLock(\.count)
            if try await condition() { return }
            await withCheckedContinuation { continuation in
                let isOutdated = state.withLock { state in
                    guard state.count == seen else { return true }
                    state.waiters.append(continuation)
                    return false
                }
                if isOutdated { continuation.resume() }
            }
        }
    }
}
