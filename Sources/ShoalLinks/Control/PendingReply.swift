package import ShoalCore
internal import Synchronization

/// A place for one answer that comes once, from any thread, to one waiting task.
package final class PendingReply<Value: Sendable>: Sendable {
    private enum State {
        case empty
        case waiting(CheckedContinuation<Result<Value, ShoalError>, Never>)
        case resolved(Result<Value, ShoalError>)
    }

    private let state = Mutex(State.empty)

    package init() {}

    /// Whether an answer is there; later ones are ignored.
    package var isResolved: Bool {
        state.withLock { state in
            guard case .resolved = state else { return false }
            return true
        }
    }

    /// The first call decides, and returns true.
    @discardableResult
    package func resolve(_ result: Result<Value, ShoalError>) -> Bool {
        let (continuation, hasDecided) = state.withLock {
            state -> (CheckedContinuation<Result<Value, ShoalError>, Never>?, Bool) in
            switch state {
            case .empty:
                state = .resolved(result)
                return (nil, true)
            case .waiting(let continuation):
                state = .resolved(result)
                return (continuation, true)
            case .resolved:
                return (nil, false)
            }
        }
        continuation?.resume(returning: result)
        return hasDecided
    }

    /// Waits for the answer; call it once. A cancelled task gets `cancelled`.
    package func wait() async throws(ShoalError) -> Value {
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in install(continuation) }
        } onCancel: {
            resolve(.failure(ShoalError(.cancelled, "the request was cancelled")))
        }
        return try result.get()
    }

    private func install(_ continuation: CheckedContinuation<Result<Value, ShoalError>, Never>) {
        let ready = state.withLock { state -> Result<Value, ShoalError>? in
            guard case .resolved(let result) = state else {
                state = .waiting(continuation)
                return nil
            }
            return result
        }
        if let ready { continuation.resume(returning: ready) }
    }
}
