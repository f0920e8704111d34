internal import Synchronization

/// Something that happens once; any number of tasks wait for it, before or after. Any thread.
///
/// Waiting is not cancellable: use it for what is bound to happen, such as the end of something that was told to end.
package final class OneTimeSignal: Sendable {
    private enum State {
        case pending([CheckedContinuation<Void, Never>])
        case given
    }

    private let state = Mutex(State.pending([]))

    package init() {}

    /// Later calls do nothing.
    package func give() {
        let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            guard case .pending(let waiters) = state else { return [] }
            state = .given
            return waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    package func wait() async {
        await withCheckedContinuation { continuation in
            let isGiven = state.withLock { state in
                guard case .pending(let waiters) = state else { return true }
                state = .pending(waiters + [continuation])
                return false
            }
            if isGiven { continuation.resume() }
        }
    }
}
