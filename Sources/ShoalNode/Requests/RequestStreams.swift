import ShoalCore
import Synchronization

/// Answers that this node's clients wait for and another node computes. Events arrive on the data loop and must keep
/// their order, so they are handed over right there, without an actor in between.
final class RequestStreams: Sendable {
    /// One waiting answer.
    private struct Waiting {
        let continuation: AsyncStream<GenerationEvent>.Continuation
        let head: NodeID
    }

    private let waiting = Mutex<[RequestID: Waiting]>([:])

    /// Registers the reader of an answer before the request is sent.
    func open(_ id: RequestID, head: NodeID, continuation: AsyncStream<GenerationEvent>.Continuation) {
        waiting.withLock { $0[id] = Waiting(continuation: continuation, head: head) }
    }

    /// Hands one event to its reader; events of unknown requests are late and dropped.
    func deliver(_ event: GenerationEvent, to id: RequestID) {
        let reader = waiting.withLock { table -> AsyncStream<GenerationEvent>.Continuation? in
            event.isTerminal ? table.removeValue(forKey: id)?.continuation : table[id]?.continuation
        }
        reader?.yield(event)
        if event.isTerminal { reader?.finish() }
    }

    /// Forgets a reader that left. False if the answer had ended already.
    @discardableResult
    func close(_ id: RequestID) -> Bool {
        waiting.withLock { $0.removeValue(forKey: id) } != nil
    }

    /// Ends every answer that `head` was computing.
    func fail(allOf head: NodeID, with error: ShoalError) {
        let lost = waiting.withLock { table -> [RequestID] in
            table.filter { $0.value.head == head }.map(\.key)
        }
        for id in lost { deliver(.failed(error), to: id) }
    }
}
