package import Logging
package import NIOCore
package import ShoalCore
package import ShoalRPC

/// The worker's end of tunnels to one ggml-rpc-server process: gives it what heads send, with the weights put in from
/// this node's own disk.
package final class TunnelWorkerEnd: Sendable {
    /// Which rpc-server it stands before.
    package struct Configuration: Sendable {
        /// "127.0.0.1", or the address of a stock rpc-server that has no Shoal.
        package var rpcServerHost: String
        package var rpcServerPort: Int
        /// Tells one process from the next; a head forgets what it knew of another one.
        package var serverNumber: UInt64

        package init(rpcServerHost: String = "127.0.0.1", rpcServerPort: Int, serverNumber: UInt64) {
            self.rpcServerHost = rpcServerHost
            self.rpcServerPort = rpcServerPort
            self.serverNumber = serverNumber
        }
    }

    private let configuration: Configuration
    private let finder: PieceFinder
    private let ledger = SessionLedger()
    private let logger: Logger

    /// `cache` nil: what is sent is not kept.
    package init(configuration: Configuration, library: TensorLibrary, cache: PieceCache?, logger: Logger) {
        self.configuration = configuration
        finder = PieceFinder(library: library, cache: cache)
        self.logger = logger
    }

    /// Carries one session, on the stream's event loop. Returns when it is over and the rpc-server is free again; a
    /// failure is in `counters.lastError`, and the head was told.
    package func serve(_ peer: PeerStream) async {
        let loop = peer.channel.eventLoop
        let configuration = configuration
        let finder = finder
        let ledger = ledger
        let whenOver = loop.makePromise(of: Void.self)
        loop.execute {
            WorkerRelay(
                peer, finder: finder, serverNumber: configuration.serverNumber, ledger: ledger, whenOver: whenOver
            ).start(host: configuration.rpcServerHost, port: configuration.rpcServerPort)
        }
        // The promise is never failed.
        try? await whenOver.futureResult.get()
        logger.debug("a tunnel session ended", metadata: ["rpc.port": "\(configuration.rpcServerPort)"])
    }

    /// Of the process that it stands before.
    package var serverNumber: UInt64 { configuration.serverNumber }

    /// All sessions so far. Any thread.
    package var counters: TunnelCounters { ledger.counters }

    /// Asks the rpc-server who it is. Throws `overloaded` during a session: it serves one client at a time, and a
    /// second one would wait for the first without saying so.
    package func probe(eventLoop: any EventLoop, deadline: Duration) async throws(ShoalError) -> RPCServerFacts {
        guard ledger.counters.openSessionCount == 0 else {
            throw ShoalError(.overloaded, "the rpc-server is in a session; it can be asked when that is over")
        }
        return try await RPCClient.facts(
            host: configuration.rpcServerHost, port: configuration.rpcServerPort, eventLoop: eventLoop,
            deadline: deadline)
    }

    /// Ends the open sessions; none begins afterwards.
    package func close() { ledger.close() }
}
