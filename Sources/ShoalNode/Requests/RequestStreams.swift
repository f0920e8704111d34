import ShoalCore
import ShoalLinks
import Synchronization

/// Answers that this node's clients wait for and another node computes. Events arrive on the data loop and must keep
/// their order, so they are handed over right there, without an actor in between.
final class RequestStreams: Sendable {
    /// One waiting answer.
    private struct Waiting {
        let continuation: AsyncStream<GenerationEvent>.Continuation
        let link: ControlLink
    }

    /// Events that may wait for a reader: more than a head sends before it pauses for the reader.
    static let undeliveredEventCountMax = 4 * Limits.unacknowledgedTokenCountMax

    private let waiting = Mutex<[RequestID: Waiting]>([:])

    /// Registers the reader of an answer before the request is sent over `link`. False if the id is taken.
    func open(
        _ id: RequestID, over link: ControlLink, continuation: AsyncStream<GenerationEvent>.Continuation
    ) -> Bool {
        waiting.withLock { table in
            guard table[id] == nil else { return false }
            table[id] = Waiting(continuation: continuation, link: link)
            return true
        }
    }

    /// Hands one event to its reader; events of unknown requests are late and dropped. A head that sends far more
    /// than the reader took breaks the protocol, and the answer ends with that.
    func deliver(_ event: GenerationEvent, to id: RequestID) {
        let reader = waiting.withLock { table -> AsyncStream<GenerationEvent>.Continuation? in
            event.isTerminal ? table.removeValue(forKey: id)?.continuation : table[id]?.continuation
        }
        guard let reader else { return }
        if case .dropped = reader.yield(event), !event.isTerminal {
            let count = Self.undeliveredEventCountMax
            reader.yield(
                .failed(ShoalError(.protocolViolation, "the head sent more than \(count) events that nobody had read")))
            close(id)
            return reader.finish()
        }
        if event.isTerminal { reader.finish() }
    }

    /// Forgets a reader that left. False if the answer had ended already.
    @discardableResult
    func close(_ id: RequestID) -> Bool {
        waiting.withLock { $0.removeValue(forKey: id) } != nil
    }

    /// Whether an answer is to come over `link`.
    func use(_ link: ControlLink) -> Bool { waiting.withLock { $0.values.contains { $0.link === link } } }

    /// Ends every answer that was to come over `link`; nil means every answer.
    func fail(allOver link: ControlLink?, with error: ShoalError) {
        let lost = waiting.withLock { table -> [RequestID] in
            table.filter { link == nil || $0.value.link === link }.map(\.key)
        }
        for id in lost { deliver(.failed(error), to: id) }
    }
}
