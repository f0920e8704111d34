import NIOCore
import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalWire

/// Event loops of their own for one test, shut down at its end.
func withEventLoops<Result>(
    _ body: (MultiThreadedEventLoopGroup) async throws -> Result
) async throws -> Result {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    do {
        let result = try await body(group)
        try await group.shutdownGracefully()
        return result
    } catch {
        try await group.shutdownGracefully()
        throw error
    }
}

/// What a listener admitted.
struct Admitted: Sendable {
    let connection: FrameConnection
    let hello: LinkHello
}

enum LinkFixture {
    static let anyPort = "127.0.0.1:0"

    static func hello(_ name: String) -> LinkHello {
        LinkHello(
            nodeID: NodeID.random(), nodeName: name, llamaBuild: "b0", linkAddress: "127.0.0.1:7461", apiAddress: nil)
    }

    static func listener(
        on group: MultiThreadedEventLoopGroup, address: String = anyPort,
        configuration: LinkConfiguration = LinkConfiguration(), into recorder: EventRecorder<Admitted>
    ) async throws -> LinkListener {
        let hello = hello("listener")
        return try await LinkListener.bind(
            LinkAddress(parsing: address), eventLoopGroup: group, configuration: configuration, hello: { hello },
            onLink: { recorder.record(Admitted(connection: $0, hello: $1)) })
    }

    /// A plain TCP connection that speaks only what the test writes.
    static func stranger(
        to address: LinkAddress, on group: MultiThreadedEventLoopGroup
    ) async throws -> (any Channel, RecordingBytes) {
        let bytes = RecordingBytes()
        let channel = try await ClientBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(RecordingBytes.Handler(bytes))
                }
            }
            .connect(host: address.host, port: Int(address.port)).get()
        return (channel, bytes)
    }
}

/// What came over a plain connection, and its end.
final class RecordingBytes: Sendable {
    enum Event: Sendable {
        case bytes(ByteBuffer)
        case end
    }

    let recorder = EventRecorder<Event>()

    /// Waits for the end and returns the frames that came before it.
    func framesUntilEnd() async throws -> [Frame] {
        _ = await recorder.first { event in
            guard case .end = event else { return false }
            return true
        }
        var reader = FrameReader()
        for case .bytes(let buffer) in recorder.events { reader.append(buffer) }
        var frames: [Frame] = []
        while let frame = try reader.next() { frames.append(frame) }
        return frames
    }

    final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let bytes: RecordingBytes

        init(_ bytes: RecordingBytes) { self.bytes = bytes }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            bytes.recorder.record(.bytes(Self.unwrapInboundIn(data)))
        }

        func channelInactive(context: ChannelHandlerContext) { bytes.recorder.record(.end) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
