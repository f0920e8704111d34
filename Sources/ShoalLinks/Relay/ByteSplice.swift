internal import NIOCore
internal import ShoalCore

/// Makes two connections one: what a third node does for two that cannot dial each other.
package enum ByteSplice {
    /// Passes bytes between the two from now on, starting with those that came already. Neither has frames any more;
    /// both are closed when one of them ends. Any thread; both must be paused and live on one event loop.
    ///
    /// `onEnd` is called once, on the loop, when both have closed, with the bytes that went from `one` to `other` and
    /// back.
    package static func join(
        _ one: FrameConnection, _ other: FrameConnection, onEnd: @escaping @Sendable (Int, Int) -> Void
    ) {
        guard one.eventLoop === other.eventLoop else {
            let error = ShoalError(.internal, "connections of two event loops cannot be joined")
            for connection in [one, other] { connection.close(because: error) }
            return onEnd(0, 0)
        }
        one.eventLoop.execute { joinOnLoop(one, other, onEnd) }
    }

    private static func joinOnLoop(
        _ one: FrameConnection, _ other: FrameConnection, _ onEnd: @escaping @Sendable (Int, Int) -> Void
    ) {
        let handlers = (SpliceHandler(), SpliceHandler())
        let bound = NIOLoopBound(handlers, eventLoop: one.eventLoop)
        let closed = EventLoopFuture.andAllComplete([one.whenGone, other.whenGone], on: one.eventLoop)
        closed.whenComplete { _ in onEnd(bound.value.0.byteCount, bound.value.1.byteCount) }
        do {
            try one.append(handlers.0)
            try other.append(handlers.1)
        } catch {
            // One of them has closed meanwhile.
            for connection in [one, other] { connection.close(because: nil) }
            return
        }
        SpliceHandler.join(handlers.0, handlers.1)
        for connection in [one, other] { connection.handOver() }
        for connection in [one, other] { connection.readByItself() }
    }
}
