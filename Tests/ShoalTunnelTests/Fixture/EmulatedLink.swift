import NIOCore
import NIOPosix
import Synchronization

/// A TCP relay with the rate and delay of a network link, each direction for itself. Every connection is a link.
final class EmulatedLink: Sendable {
    struct Shape: Sendable {
        /// Nil: as fast as it goes.
        var bytesPerSecond: Int?
        var delay = TimeAmount.zero

        static let open = Shape()
        static func megabytes(_ rate: Int, delay: TimeAmount) -> Shape {
            Shape(bytesPerSecond: rate * 1_000_000, delay: delay)
        }
    }

    let port: Int
    private let channel: any Channel
    private let counter: ByteCounter

    private init(channel: any Channel, port: Int, counter: ByteCounter) {
        self.channel = channel
        self.port = port
        self.counter = counter
    }

    /// Of both directions and all connections.
    var byteCount: Int { counter.value }

    static func start(to port: Int, _ shape: Shape = .open, eventLoop: any EventLoop) async throws -> EmulatedLink {
        let counter = ByteCounter()
        let channel = try await ServerBootstrap(group: eventLoop)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { near in
                ClientBootstrap(group: near.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                    .connect(host: "127.0.0.1", port: port)
                    .flatMapThrowing { far in
                        try near.pipeline.syncOperations.addHandler(Half(to: far, shape, counter))
                        try far.pipeline.syncOperations.addHandler(Half(to: near, shape, counter))
                        far.read()
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return EmulatedLink(channel: channel, port: channel.localAddress?.port ?? 0, counter: counter)
    }

    func close() async { try? await channel.close() }
}

final class ByteCounter: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .relaxed) }
    func add(_ bytes: Int) { count.add(bytes, ordering: .relaxed) }
}

/// One direction of a link.
private final class Half: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// What the link's queue holds.
    private static let queueByteCount = 512_000

    private let other: any Channel
    private let shape: EmulatedLink.Shape
    private let counter: ByteCounter
    /// When the link has sent what it was given.
    private var free = NIODeadline.now()
    private var queued = 0
    private var wantsRead = false

    init(to other: any Channel, _ shape: EmulatedLink.Shape, _ counter: ByteCounter) {
        self.other = other
        self.shape = shape
        self.counter = counter
    }

    func channelActive(context: ChannelHandlerContext) { context.read() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Self.unwrapInboundIn(data)
        counter.add(bytes.readableBytes)
        let duration = shape.bytesPerSecond.map { Int64(bytes.readableBytes) * 1_000_000_000 / Int64($0) } ?? 0
        free = max(free, .now()) + .nanoseconds(duration)
        queued += bytes.readableBytes
        let me = NIOLoopBound(self, eventLoop: context.eventLoop)
        let near = context.channel
        // The link is free for the next bytes before these arrive.
        context.eventLoop.scheduleTask(deadline: free) { me.value.sent(bytes.readableBytes, near) }
        let other = other
        context.eventLoop.scheduleTask(deadline: free + shape.delay) { other.writeAndFlush(bytes, promise: nil) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if queued < Self.queueByteCount {
            context.read()
        } else {
            wantsRead = true
        }
    }

    private func sent(_ byteCount: Int, _ channel: any Channel) {
        queued -= byteCount
        guard wantsRead, queued < Self.queueByteCount else { return }
        wantsRead = false
        channel.read()
    }

    func channelInactive(context: ChannelHandlerContext) {
        let other = other
        context.eventLoop.scheduleTask(deadline: max(free, .now()) + shape.delay + .milliseconds(1)) {
            other.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
