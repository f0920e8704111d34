internal import Synchronization

/// Events in the order they happened, and a way to wait for one without sleeping. Any thread.
package final class EventRecorder<Event: Sendable>: Sendable {
    private struct Waiter {
        /// By the event and its number.
        let matches: @Sendable (Event, Int) -> Bool
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
            let number = state.events.count - 1
            let woken = state.waiters.filter { $0.matches(event, number) }
            state.waiters.removeAll { $0.matches(event, number) }
            return woken
        }
        for waiter in woken { waiter.continuation.resume(returning: event) }
    }

    /// The first event that matches, past or future. A test that waits for one that never comes hangs, so such tests
    /// carry a time limit. `matches` must not ask the recorder, which is locked meanwhile.
    package func first(where matches: @escaping @Sendable (Event) -> Bool = { _ in true }) async -> Event {
        await firstNumbered { event, _ in matches(event) }
    }

    /// The event that `number` others came before, past or future.
    package func event(_ number: Int) async -> Event { await firstNumbered { $1 == number } }

    private func firstNumbered(where matches: @escaping @Sendable (Event, Int) -> Bool) async -> Event {
        await withCheckedContinuation { continuation in
            let found = state.withLock { state -> Event? in
                let past = state.events.enumerated().first { matches($0.element, $0.offset) }
                if let past { return past.element }
                state.waiters.append(Waiter(matches: matches, continuation: continuation))
                return nil
            }
            if let found { continuation.resume(returning: found) }
        }
    }
}
