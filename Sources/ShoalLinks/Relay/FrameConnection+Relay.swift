internal import NIOCore
internal import ShoalCore

/// A connection whose bytes become somebody else's. On the connection's loop; after the hellos, before `start`.
extension FrameConnection {
    var whenGone: EventLoopFuture<Void> { channel.closeFuture }

    /// Adds a handler that gets this connection's bytes after `handOver`. Throws when the connection has closed.
    func append(_ handler: any ChannelHandler) throws {
        guard channel.isActive else { throw ChannelError.alreadyClosed }
        try channel.pipeline.syncOperations.addHandler(handler)
    }

    /// Gives the bytes, from the first that no frame has taken, to the handlers that were added behind.
    func handOver() { handler.value.handOver() }

    func readByItself() {
        // Fails only on a channel that has closed, which its handlers hear.
        try? channel.syncOptions?.setOption(.autoRead, value: true)
    }

    /// A connection of its own, with TLS of its own, inside this one, whose other end is a relay. Closing it closes
    /// this one. `relay` is the relay's name.
    func carrying(
        _ role: LinkSecurity.Role, _ security: LinkSecurity, _ configuration: LinkConfiguration, relay: String
    ) throws -> FrameConnection {
        guard channel.isActive else { throw ShoalError(.linkLost, "the connection to \(relay) has closed") }
        let inner = try Self.attach(to: channel, configuration, security, role, relay: relay)
        handOver()
        return inner
    }
}
