import ShoalCore

/// Answers whose instance was lost, on their way to the next one. Added on the threads of their events, taken by the
/// node.
final class LostAnswers: Sendable {
    struct Lost: Sendable {
        var answer: ContinuedAnswer
        /// Why the instance was lost.
        var cause: ShoalError
    }

    let all: AsyncStream<Lost>
    private let continuation: AsyncStream<Lost>.Continuation

    /// Each answer is there once at most, and a reader waits for it: their number bounds the queue.
    init() { (all, continuation) = AsyncStream.makeStream(bufferingPolicy: .unbounded) }

    func add(_ answer: ContinuedAnswer, _ cause: ShoalError) {
        guard case .enqueued = continuation.yield(Lost(answer: answer, cause: cause)) else {
            // The node has ended.
            return answer.fail(cause)
        }
    }

    /// Those that come from now on fail at once.
    func end() { continuation.finish() }
}
