import NIOCore
import NIOPosix
import ShoalLinks
import Synchronization

/// Somebody on the way between two nodes, who passes everything on and remembers what the dialling sides sent.
final class RecordingProxy: Sendable {
    /// Where to dial instead of the target.
    let address: String
    private let listener: any Channel
    private let recording: Recording

    private final class Recording: Sendable {
        let connections = Mutex<[[UInt8]]>([])
    }

    private init(address: String, listener: any Channel, recording: Recording) {
        self.address = address
        self.listener = listener
        self.recording = recording
    }

    static func start(to target: String) async throws -> RecordingProxy {
        let target = try LinkAddress(parsing: target)
        let recording = Recording()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { near in
                let number = recording.connections.withLock { connections in
                    connections.append([])
                    return connections.count - 1
                }
                return near.eventLoop.makeCompletedFuture {
                    try near.pipeline.syncOperations.addHandler(
                        Passing { bytes in recording.connections.withLock { $0[number] += bytes } })
                }.flatMap { join(near, to: target) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return RecordingProxy(
            address: "127.0.0.1:\(listener.localAddress?.port ?? 0)", listener: listener, recording: recording)
    }

    /// What each connection's dialling side sent so far.
    var sent: [[UInt8]] { recording.connections.withLock { $0 } }

    func close() async { try? await listener.close() }

    private static func join(_ near: any Channel, to target: LinkAddress) -> EventLoopFuture<Void> {
        ClientBootstrap(group: near.eventLoop)
            .channelOption(.autoRead, value: false)
            .channelInitializer { far in
                far.eventLoop.makeCompletedFuture {
                    try far.pipeline.syncOperations.addHandler(Passing { _ in })
                }
            }
            .connect(host: target.host, port: Int(target.port))
            .flatMapThrowing { far in
                for (from, to) in [(near, far), (far, near)] {
                    try from.pipeline.syncOperations.handler(type: Passing.self).other = to
                    from.closeFuture.whenComplete { _ in to.close(promise: nil) }
                    try from.syncOptions?.setOption(.autoRead, value: true)
                }
            }
    }

    /// Hands on what comes to the other side's channel, which is on the same loop.
    private final class Passing: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        var other: (any Channel)?
        private let onBytes: @Sendable ([UInt8]) -> Void

        init(onBytes: @escaping @Sendable ([UInt8]) -> Void) { self.onBytes = onBytes }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = Self.unwrapInboundIn(data)
            onBytes(Array(buffer.readableBytesView))
            other?.writeAndFlush(buffer, promise: nil)
        }

        func handlerRemoved(context: ChannelHandlerContext) { other = nil }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
