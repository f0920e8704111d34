import ShoalCore
import ShoalLinks
import Synchronization

/// Answers that this node's clients wait for and another node computes. Events arrive on the data loop and must keep
/// their order, so they are handed over right there, without an actor in between.
final class RequestStreams: Sendable {
    /// One waiting answer.
    private struct Waiting {
        let answer: ContinuedAnswer
        let link: ControlLink
    }

    /// Events that may wait for a reader: more than a head sends before it pauses for the reader.
    static let undeliveredEventCountMax = 4 * Limits.unacknowledgedTokenCountMax

    private let waiting = Mutex<[RequestID: Waiting]>([:])

    /// Registers an answer before the request is sent over `link`. False if the id is taken.
    func open(_ answer: ContinuedAnswer, over link: ControlLink) -> Bool {
        waiting.withLock { table in
            guard table[answer.id] == nil else { return false }
            table[answer.id] = Waiting(answer: answer, link: link)
            return true
        }
    }

    /// Hands one event to its reader; events of unknown requests, or over another link than theirs, are late and
    /// dropped. A head that sends far more than the reader took breaks the protocol, and the answer ends with that.
    func deliver(_ event: GenerationEvent, to id: RequestID, from link: ControlLink) {
        let answer = waiting.withLock { table -> ContinuedAnswer? in
            guard let waiting = table[id], waiting.link === link else { return nil }
            if event.isTerminal { table[id] = nil }
            return waiting.answer
        }
        guard let answer, !answer.take(event) else { return }
        let count = Self.undeliveredEventCountMax
        close(id)
        answer.fail(
            ShoalError(.protocolViolation, "the head sent more than \(count) events that nobody had read"))
    }

    /// Forgets an answer whose reader left. False if it had ended already.
    @discardableResult
    func close(_ id: RequestID) -> Bool {
        waiting.withLock { $0.removeValue(forKey: id) } != nil
    }

    /// Whether an answer is to come over `link`.
    func use(_ link: ControlLink) -> Bool { waiting.withLock { $0.values.contains { $0.link === link } } }

    /// Every answer that was to come over `link` is lost, and may go on elsewhere.
    func lose(allOver link: ControlLink, because error: ShoalError) {
        for answer in remove(where: { $0 === link }) { answer.take(.lost(error)) }
    }

    /// Ends every answer.
    func fail(with error: ShoalError) {
        for answer in remove(where: { _ in true }) { answer.fail(error) }
    }

    private func remove(where isLost: (ControlLink) -> Bool) -> [ContinuedAnswer] {
        waiting.withLock { table in
            let lost = table.filter { isLost($0.value.link) }
            for id in lost.keys { table[id] = nil }
            return lost.values.map(\.answer)
        }
    }
}
