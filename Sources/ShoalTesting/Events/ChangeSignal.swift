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

    /// Returns once `condition` holds; looks again after every change. Throws when the task is cancelled, by a test's
    /// time limit for example.
    package func wait(until condition: () async throws -> Bool) async throws {
        while true {
            let seen = state.withLock(\.count)
            if try await condition() { return }
            try Task.checkCancellation()
            await withTaskCancellationHandler {
                await waitForChange(after: seen)
            } onCancel: {
                change()
            }
        }
    }

    private func waitForChange(after seen: Int) async {
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
