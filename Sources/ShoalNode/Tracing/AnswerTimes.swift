import ShoalCore
import Synchronization

/// What this node's gateway spent on its latest answers. Any thread.
final class AnswerTimes: Sendable {
    private struct State {
        /// Oldest first.
        var order: [RequestID] = []
        var times: [RequestID: TraceReport.HTTP] = [:]
    }

    private static let answerCountMax = 256

    private let state = Mutex(State())

    subscript(request: RequestID) -> TraceReport.HTTP? { state.withLock { $0.times[request] } }

    func note(_ times: TraceReport.HTTP, of request: RequestID) {
        state.withLock { state in
            if state.times.updateValue(times, forKey: request) == nil { state.order.append(request) }
            if state.order.count > Self.answerCountMax { state.times[state.order.removeFirst()] = nil }
        }
    }
}
