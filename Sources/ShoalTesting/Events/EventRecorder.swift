internal import Synchronization

/// Events in the order they happened, and a way to wait for one without sleeping. Any thread.
package final class EventRecorder<Event: Sendable>: Sendable {
    private struct Waiter {
        let matches: @Sendable (Event) -> Bool
        let continuation: CheckedContinuation<Event, Never>
    }

    private struct State {
        var events: [Event] = []
        var waiters: [Waiter] = []
    }

    private let state = Mutex(State())

    package init() {}

    /// Everything so far.
    package var events: [Event] { state.withLock { $0.events } }

    package func record(_ event: Event) {
        let woken = state.withLock { state in
            state.events.append(event)
            let woken = state.waiters.filter { $0.matches(event) }
            state.waiters.removeAll { $0.matches(event) }
            return woken
        }
        for waiter in woken { waiter.continuation.resume(returning: event) }
    }

    /// The first event that matches, past or future. A test that waits for one that never comes hangs, so such tests
    /// carry a time limit.
    package func first(where matches: @escaping @Sendable (Event) -> Bool = { _ in true }) async -> Event {
        await withCheckedContinuation { continuation in
            let found = state.withLock { state -> Event? in
                if let event = state.events.first(where: matches) { return event }
                state.waiters.append(Waiter(matches: matches, continuation: continuation))
                return nil
            }
            if let found { continuation.resume(returning: found) }
        }
    }
}
