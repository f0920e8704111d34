import Foundation
import Logging
import NIOCore
import NIOPosix
import ShoalCore
import ShoalRPC

@testable import ShoalTunnel

/// Both ends of a tunnel in this process, over plain TCP, with an emulated link between them.
final class Tunnel: Sendable {
    static let group = MultiThreadedEventLoopGroup.singleton

    let head: TunnelHeadEnd
    let worker: TunnelWorkerEnd
    let link: EmulatedLink
    private let listener: any Channel

    private init(head: TunnelHeadEnd, worker: TunnelWorkerEnd, link: EmulatedLink, listener: any Channel) {
        self.head = head
        self.worker = worker
        self.link = link
        self.listener = listener
    }

    /// To the rpc-server at `port`. `files` are the worker's.
    static func start(
        to port: Int, model: String, files: [String], cache: PieceCache? = nil, _ shape: EmulatedLink.Shape = .open
    ) async throws -> Tunnel {
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

        let worker = TunnelWorkerEnd(
            configuration: .init(rpcServerPort: port, serverNumber: 1), library: TensorLibrary(paths: files),
            cache: cache, logger: logger)
        let listener = try await ServerBootstrap(group: group)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        WhenActive { channel in
                            // It ends with its connection.
                            Task { await worker.serve(PeerStream(channel: channel)) }
                        })
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let link = try await EmulatedLink.start(
            to: listener.localAddress?.port ?? 0, shape, eventLoop: group.any())
        let loop = group.next()
        let linkPort = link.port
        let head = try await TunnelHeadEnd.start(
            configuration: .init(modelPaths: [model]), eventLoop: loop, logger: logger
        ) { () async throws(ShoalError) in
            do {
                return PeerStream(
                    channel: try await ClientBootstrap(group: loop)
                        .channelOption(.autoRead, value: false)
                        .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                        .connect(host: "127.0.0.1", port: linkPort).get())
            } catch {
                throw ShoalError(.linkLost, "\(error)")
            }
        }
        return Tunnel(head: head, worker: worker, link: link, listener: listener)
    }

    func close() async {
        await head.close()
        worker.close()
        await link.close()
        try? await listener.close()
    }
}

/// An accepted channel is no stream before it is active.
private final class WhenActive: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let body: @Sendable (any Channel) -> Void

    init(_ body: @escaping @Sendable (any Channel) -> Void) { self.body = body }

    func channelActive(context: ChannelHandlerContext) {
        body(context.channel)
        context.fireChannelActive()
    }
}
