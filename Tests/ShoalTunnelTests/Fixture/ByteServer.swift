import NIOCore
import NIOPosix
import Synchronization

/// A TCP server that answers every chunk with what a closure makes of it, and remembers what it got.
final class ByteServer: Sendable {
    typealias Answer = @Sendable (_ allSoFar: [UInt8], _ chunk: [UInt8]) -> [UInt8]

    let port: Int
    private let channel: any Channel
    private let memory: Memory

    private init(channel: any Channel, memory: Memory) {
        self.channel = channel
        self.memory = memory
        port = channel.localAddress?.port ?? 0
    }

    /// Of all connections.
    var bytes: [UInt8] { memory.bytes.withLock { $0 } }

    static func start(_ answer: @escaping Answer) async throws -> ByteServer {
        let memory = Memory()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Answerer(memory, answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return ByteServer(channel: channel, memory: memory)
    }

    func close() async { try? await channel.close() }
}

private final class Memory: Sendable {
    let bytes = Mutex<[UInt8]>([])
}

private final class Answerer: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let memory: Memory
    private let answer: ByteServer.Answer

    init(_ memory: Memory, _ answer: @escaping ByteServer.Answer) {
        self.memory = memory
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let chunk = Array(Self.unwrapInboundIn(data).readableBytesView)
        let all = memory.bytes.withLock { bytes in
            bytes += chunk
            return bytes
        }
        let reply = answer(all, chunk)
        if !reply.isEmpty { context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: reply)), promise: nil) }
    }
}
