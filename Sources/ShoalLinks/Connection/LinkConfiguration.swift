/// The bounds and intervals of links.
package struct LinkConfiguration: Sendable {
    /// Bytes that may wait for a peer that does not read. Beyond it, and the high water mark, the connection closes,
    /// unless nothing else waits: a single frame of any legal size always fits.
    package var outboundByteCountMax = 64 << 20
    /// Bytes that may come before somebody takes the connection's frames.
    package var unstartedByteCountMax = 16 << 20
    /// Where `writabilityChanged(false)` is said.
    package var writeBufferHighWaterByteCount = 1 << 20
    /// Where `writabilityChanged(true)` is said.
    package var writeBufferLowWaterByteCount = 256 << 10
    /// Connections that a listener keeps without a hello; more are closed at once.
    package var halfOpenConnectionCountMax = 64
    /// How long a peer may take for its hello, connecting included on the dialling side.
    package var helloDeadline = Duration.seconds(5)
    /// How long the end of a TLS connection may take, before it is ended without the peer's consent.
    package static let tlsClosingDeadline = Duration.milliseconds(250)
    /// How often a control link is probed.
    package var heartbeatInterval = Duration.seconds(1)
    /// A control link on which nothing was heard for so long is closed.
    package var silenceMax = Duration.seconds(5)
    /// Requests of the peer that are worked on side by side; more are answered `overloaded`.
    package var requestsInProgressMax = 64
    /// Our requests that wait for an answer; more fail with `overloaded`.
    package var pendingRequestCountMax = 256
    /// Whether closing with an error tells the peer why. Off between a node and its engine.
    package var saysGoodbye = true

    package init() {}
}
