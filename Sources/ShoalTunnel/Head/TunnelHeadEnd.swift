package import Logging
package import NIOCore
internal import NIOPosix
package import ShoalCore
internal import ShoalModel
package import ShoalRPC

/// The head's end of the tunnel to one worker: listens on loopback for llama-server, as if it were the rpc-server.
///
/// Weights of the model go as references, questions whose answers are known are answered here, everything else is
/// carried. See docs/rpc.md.
package final class TunnelHeadEnd: Sendable {
    /// What a head's end needs to know.
    package struct Configuration: Sendable {
        /// Any GGUF file of each model that llama-server loads (a projector or draft model too); shards are found.
        package var modelPaths: [String]
        /// Where llama-server finds it. 0: any free port.
        package var port: Int

        package init(modelPaths: [String], port: Int = 0) {
            self.modelPaths = modelPaths
            self.port = port
        }
    }

    /// Opens a connection to the worker's end, on the event loop that `start` was given; with a deadline of its own.
    package typealias OpenPeer = @Sendable () async throws(ShoalError) -> PeerStream

    /// For `--rpc 127.0.0.1:PORT`.
    package let port: Int
    private let channel: any Channel
    private let ledger: SessionLedger
    private let idlePeer: NIOLoopBoundBox<IdlePeer>
    private let known: KnownServer
    private let openPeer: @Sendable () -> EventLoopFuture<PeerStream>

    private init(
        channel: any Channel, port: Int, ledger: SessionLedger, idlePeer: NIOLoopBoundBox<IdlePeer>,
        known: KnownServer, openPeer: @escaping @Sendable () -> EventLoopFuture<PeerStream>
    ) {
        self.channel = channel
        self.port = port
        self.ledger = ledger
        self.idlePeer = idlePeer
        self.known = known
        self.openPeer = openPeer
    }

    /// Reads the model's headers and listens. Throws `fileUnreadable`, `malformedModel`, `addressUnusable`.
    package static func start(
        configuration: Configuration, eventLoop: any EventLoop, logger: Logger, openPeer: @escaping OpenPeer
    ) async throws(ShoalError) -> TunnelHeadEnd {
        let index = try await readIndex(configuration.modelPaths)
        let ledger = SessionLedger()
        let known = KnownServer()
        let idlePeer = NIOLoopBoundBox.makeBoxSendingValue(IdlePeer(), eventLoop: eventLoop)
        // Nobody cancels it: `openPeer` has a deadline, and what it opens too late is closed.
        let open: @Sendable () -> EventLoopFuture<PeerStream> = {
            eventLoop.makeFutureWithTask { try await openPeer() }
        }
        let bootstrap = ServerBootstrap(group: eventLoop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: 2048, initial: 65536, maximum: 1 << 20)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let relay = HeadRelay(
                        client: channel, index: index, known: known, idlePeer: idlePeer.value, ledger: ledger
                    ) {
                        Self.whole(idlePeer.value.takeWarm(), or: open)
                    }
                    try relay.start()
                }
            }
        do {
            let channel = try await bootstrap.bind(host: "127.0.0.1", port: configuration.port).get()
            guard let port = channel.localAddress?.port else {
                throw ShoalError(.addressUnusable, "a listening socket without a port")
            }
            logger.debug("a tunnel's head end listens", metadata: ["rpc.port": "\(port)"])
            return TunnelHeadEnd(
                channel: channel, port: port, ledger: ledger, idlePeer: idlePeer, known: known, openPeer: open)
        } catch {
            throw ShoalError(.addressUnusable, "cannot listen for llama-server on loopback: \(error)")
        }
    }

    /// What the worker's own node has just learned from the rpc-server, and the number of its process: llama-server's
    /// questions about that are answered here, those about memory for `TunnelLimits.memoryAnswerAgeMax`.
    package func prime(_ facts: RPCServerFacts, serverNumber: UInt64) {
        known.prime(facts, serverNumber: serverNumber, now: .now)
    }

    /// Opens the connection that llama-server's first real request will need. Until `coolDown`, or for
    /// `TunnelLimits.warmPeerDeadline`, the rpc-server is in a session.
    package func warmUp() {
        channel.eventLoop.execute { [idlePeer, openPeer] in idlePeer.value.warmUp(openPeer()) }
    }

    /// Closes connections that wait for llama-server.
    package func coolDown() { channel.eventLoop.execute { [idlePeer] in idlePeer.value.coolDown() } }

    /// All sessions so far. Any thread.
    package var counters: TunnelCounters { ledger.counters }

    /// Stops listening and ends the sessions; llama-server does not outlive that.
    package func close() async {
        ledger.close()
        channel.eventLoop.execute { [idlePeer] in idlePeer.value.close() }
        // Closing fails only when the channel is closed already, which is what is wanted.
        try? await channel.close()
    }

    /// The connection that was opened ahead, or another one when that was lost.
    private static func whole(
        _ warm: EventLoopFuture<PeerStream>?, or open: @escaping @Sendable () -> EventLoopFuture<PeerStream>
    ) -> EventLoopFuture<PeerStream> {
        guard let warm else { return open() }
        return warm.flatMap { $0.channel.isActive ? warm.eventLoop.makeSucceededFuture($0) : open() }
            .flatMapError { _ in open() }
    }

    private static func readIndex(_ paths: [String]) async throws(ShoalError) -> TensorIndex {
        let result: Result<TensorIndex, ShoalError>
        do {
            result = try await NIOThreadPool.singleton.runIfActive {
                Result { () throws(ShoalError) in
                    let library = TensorLibrary(paths: paths)
                    if let failure = library.failures.first { throw failure }
                    return library.index
                }
            }
        } catch {
            result = .failure(ShoalError(.internal, "no thread to read a model's header: \(error)"))
        }
        return try result.get()
    }
}
