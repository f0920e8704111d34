package import NIOCore
internal import NIOPosix
package import ShoalCore
package import ShoalWire
internal import Synchronization

/// Frames in both directions over one connected stream socket.
///
/// Nothing is read until `start`. A connection keeps itself alive until it closes, so whoever has one closes it.
package final class FrameConnection: Sendable {
    package let eventLoop: any EventLoop
    let channel: any Channel
    let handler: NIOLoopBound<FrameConnectionHandler>
    /// The node that passes this connection's bytes on between the two ends; nil when there is none.
    package let relay: String?
    /// Whose key TLS proved, when it has; nil on sockets without TLS.
    let provenPeer: EventLoopFuture<NodeID>?
    private let countsStorage = Mutex(FrameCounts())

    private init(
        channel: any Channel, handler: FrameConnectionHandler, provenPeer: EventLoopFuture<NodeID>?, relay: String?
    ) {
        self.channel = channel
        self.relay = relay
        self.provenPeer = provenPeer
        eventLoop = channel.eventLoop
        self.handler = NIOLoopBound(handler, eventLoop: channel.eventLoop)
    }

    /// Takes over a connected stream socket, Unix or TCP; the connection closes it, also when this throws.
    package static func adopting(
        socket: CInt, eventLoop: any EventLoop, configuration: LinkConfiguration = LinkConfiguration()
    ) async throws(ShoalError) -> FrameConnection {
        do {
            return try await clientBootstrap(eventLoop, configuration)
                .withConnectedSocket(socket) { channel in
                    channel.eventLoop.makeCompletedFuture { try attach(to: channel, configuration) }
                }
        } catch {
            throw ShoalError(.internal, "socket \(socket) cannot be used for frames: \(error)")
        }
    }

    /// Bytes and frames so far, both directions. Any thread.
    package var counts: FrameCounts { countsStorage.withLock { $0 } }

    /// Whether the queue towards the peer is short. Any thread; a hint, out of date when it is read.
    package var isWritable: Bool { channel.isWritable }

    /// The peer's address in words, for messages.
    package var peerDescription: String {
        if let relay { return "the other end behind node \(relay)" }
        guard let address = channel.remoteAddress, let port = address.port, let host = address.ipAddress else {
            return "the other process"
        }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// The peer's address without its port; nil on sockets without one, and behind a relay.
    package var peerHost: String? { relay == nil ? channel.remoteAddress?.ipAddress : nil }

    /// Calls `body` when the connection is gone, on its loop.
    func whenClosed(_ body: @escaping @Sendable () -> Void) { channel.closeFuture.whenComplete { _ in body() } }

    /// Sends one frame. Any thread; one caller's frames keep their order; on the loop there is no hop. After the
    /// connection closed, frames are dropped: `closed` is the news. A frame over `Limits`, or a peer that does not read
    /// (`LinkConfiguration.outboundByteCountMax`), closes the connection.
    package func send(_ frame: Frame) {
        onLoop { $0.send(frame) }
    }

    /// Closes, telling the peer why unless the configuration says otherwise. Any thread; later calls do nothing.
    package func close(because error: ShoalError?) {
        onLoop { [channel] handler in
            // Its bytes are another connection's, whose peer would not understand a goodbye.
            guard !handler.isHandedOver else { return channel.close(promise: nil) }
            handler.close(because: error, sayingGoodbye: true)
        }
    }

    /// Gives the frames to `receiver`, from the first one on. Any thread. A later call replaces the receiver.
    package func start(_ receiver: any FrameReceiver) {
        onLoop { $0.start(receiver, on: self) }
    }

    /// Stops delivering, until the next `start`, and sets what the next header may announce. On the loop only.
    func pause(limits: FrameSizeLimits) { handler.value.pause(limits: limits) }

    /// What the next header may announce. On the loop only.
    func setLimits(_ limits: FrameSizeLimits) { handler.value.setLimits(limits) }

    /// From now on the peer is told why the connection closes. On the loop only.
    func trustPeer() { handler.value.isPeerTrusted = true }

    func countReceived(_ frame: Frame) { countsStorage.withLock { $0.addReceived(frame) } }
    func countSent(_ frame: Frame) { countsStorage.withLock { $0.addSent(frame) } }

    /// In a channel initializer: makes `channel` a connection that waits for `start`.
    static func attach(to channel: any Channel, _ configuration: LinkConfiguration) throws -> FrameConnection {
        try attach(to: channel, FrameConnectionHandler(configuration: configuration), provenPeer: nil)
    }

    /// The same behind TLS. Its peer is a stranger, who is told nothing, until `trustPeer`.
    static func attach(
        to channel: any Channel, _ configuration: LinkConfiguration, _ security: LinkSecurity,
        _ role: LinkSecurity.Role,
        relay: String? = nil
    ) throws -> FrameConnection {
        let provenPeer = try security.secure(channel, role)
        let handler = FrameConnectionHandler(configuration: configuration)
        handler.isPeerTrusted = false
        return try attach(to: channel, handler, provenPeer: provenPeer, relay: relay)
    }

    private static func attach(
        to channel: any Channel, _ handler: FrameConnectionHandler, provenPeer: EventLoopFuture<NodeID>?,
        relay: String? = nil
    ) throws -> FrameConnection {
        try channel.pipeline.syncOperations.addHandler(handler)
        let connection = FrameConnection(channel: channel, handler: handler, provenPeer: provenPeer, relay: relay)
        handler.connection = connection
        return connection
    }

    /// Options that every connection has, whichever side dialled.
    static func clientBootstrap(_ eventLoop: any EventLoop, _ configuration: LinkConfiguration) -> ClientBootstrap {
        ClientBootstrap(group: eventLoop)
            .channelOption(.autoRead, value: false)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.writeBufferWaterMark, value: waterMark(configuration))
            .channelOption(.recvAllocator, value: receiveAllocator)
    }

    static func waterMark(_ configuration: LinkConfiguration) -> ChannelOptions.Types.WriteBufferWaterMark {
        .init(
            low: configuration.writeBufferLowWaterByteCount, high: configuration.writeBufferHighWaterByteCount)
    }

    /// Small enough for many idle links, large enough for a prompt chunk's activations.
    static let receiveAllocator = AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 65536, maximum: 262_144)

    private func onLoop(_ body: @escaping @Sendable (FrameConnectionHandler) -> Void) {
        if eventLoop.inEventLoop {
            body(handler.value)
        } else {
            eventLoop.execute { body(self.handler.value) }
        }
    }
}
