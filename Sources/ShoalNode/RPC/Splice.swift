import NIOCore
import NIOPosix
import ShoalCore
import Synchronization

/// Bytes that crossed a splice, from any thread.
final class SpliceCounts: Sendable {
    private let storage = Mutex((sent: 0, received: 0))

    /// Towards the far side.
    func addSent(_ count: Int) { storage.withLock { $0.sent += count } }
    func addReceived(_ count: Int) { storage.withLock { $0.received += count } }

    var sent: Int { storage.withLock { $0.sent } }
    var received: Int { storage.withLock { $0.received } }
}

/// Makes one byte stream of two channels: what one reads the other writes, no faster than it is taken, and the end of
/// one is the end of the other.
enum Splice {
    /// Both channels are on one loop and have `autoRead` off; `firstBytes` came from `far` already.
    static func join(
        near: any Channel, far: any Channel, firstBytes: ByteBuffer = ByteBuffer(), counts: SpliceCounts = .init()
    ) async throws(ShoalError) {
        let loop = near.eventLoop
        let joined = loop.submit {
            guard near.isActive, far.isActive else {
                near.close(promise: nil)
                far.close(promise: nil)
                return
            }
            let nearEnd = SpliceHandler { counts.addSent($0) }
            let farEnd = SpliceHandler { counts.addReceived($0) }
            nearEnd.partner = farEnd
            farEnd.partner = nearEnd
            try near.pipeline.syncOperations.addHandler(nearEnd)
            try far.pipeline.syncOperations.addHandler(farEnd)
            if firstBytes.readableBytes > 0 {
                counts.addReceived(firstBytes.readableBytes)
                near.writeAndFlush(firstBytes, promise: nil)
            }
            nearEnd.begin()
            farEnd.begin()
        }
        do {
            try await joined.get()
        } catch {
            near.close(promise: nil)
            far.close(promise: nil)
            throw ShoalError(.linkLost, "two connections could not be joined: \(error)")
        }
    }

    /// Connects to a port of `host`, with `autoRead` off. Throws `linkLost`.
    static func connect(
        host: String, port: Int, eventLoop: any EventLoop, deadline: Duration
    ) async throws(ShoalError) -> any Channel {
        do {
            return try await ClientBootstrap(group: eventLoop)
                .channelOption(.autoRead, value: false)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .connectTimeout(TimeAmount(deadline))
                .connect(host: host, port: port).get()
        } catch {
            throw ShoalError(.linkLost, "nothing answers at \(host):\(port): \(error)")
        }
    }
}

/// One end of a splice; both are used on one event loop only.
private final class SpliceHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    var partner: SpliceHandler?
    private var context: ChannelHandlerContext?
    private var wantsRead = false
    private let onBytes: (Int) -> Void

    init(onBytes: @escaping (Int) -> Void) { self.onBytes = onBytes }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        partner = nil
    }

    /// The first read; later ones follow each other.
    func begin() { context?.read() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = Self.unwrapInboundIn(data)
        onBytes(buffer.readableBytes)
        partner?.write(buffer)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        partner?.flush()
        readIfPartnerTakes()
    }

    func channelInactive(context: ChannelHandlerContext) {
        partner?.closeAfterWrites()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { partner?.readIfWanted() }
        context.fireChannelWritabilityChanged()
    }

    private func readIfPartnerTakes() {
        guard partner?.context?.channel.isWritable ?? false else {
            wantsRead = true
            return
        }
        context?.read()
    }

    private func readIfWanted() {
        guard wantsRead else { return }
        wantsRead = false
        context?.read()
    }

    private func write(_ buffer: ByteBuffer) { context?.write(Self.wrapOutboundOut(buffer), promise: nil) }
    private func flush() { context?.flush() }

    private func closeAfterWrites() {
        guard let context else { return }
        // Writes are done in order, so this one is done when all bytes are with the system.
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer()), promise: nil)
        context.close(promise: nil)
    }
}
