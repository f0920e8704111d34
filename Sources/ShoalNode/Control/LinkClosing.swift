import ShoalCore

/// The end of one link, to wait for.
final class LinkClosing: Sendable {
    private let events: AsyncStream<ShoalError?>
    private let continuation: AsyncStream<ShoalError?>.Continuation

    init() { (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1)) }

    func resolve(_ error: ShoalError?) {
        continuation.yield(error)
        continuation.finish()
    }

    /// Returns when the link has closed, with the reason if there was one, or when the task is cancelled. One caller.
    func wait() async -> ShoalError? {
        for await error in events { return error }
        return nil
    }
}
