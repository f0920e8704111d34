package import NIOCore
internal import NIOPosix
package import ShoalCore

/// Makes links to other nodes.
package enum LinkDialer {
    /// Connects, exchanges hellos, and returns a connection that is not yet started, with what the peer said.
    ///
    /// `deadline` bounds the whole of it. Throws, each with a sentence that names `address`: `addressUnusable` (not
    /// loopback, name not found), `linkLost` (refused, unreachable, broke), `timedOut`, `protocolViolation` (another
    /// protocol version, not Shoal).
    package static func dial(
        _ address: LinkAddress, eventLoop: any EventLoop, hello: LinkHello, deadline: Duration = .seconds(5),
        configuration: LinkConfiguration = LinkConfiguration()
    ) async throws(ShoalError) -> (FrameConnection, LinkHello) {
        try address.requireLoopback()
        let begin = NIODeadline.now()
        let connection = try await connect(address, eventLoop, deadline, configuration)
        let remaining = deadline - Duration.nanoseconds((NIODeadline.now() - begin).nanoseconds)
        let outcome = await exchangeHellos(on: connection, hello: hello, deadline: max(remaining, .zero))
        guard !Task.isCancelled else {
            connection.close(because: nil)
            throw ShoalError(.cancelled, "dialling \(address) was cancelled")
        }
        do throws(ShoalError) {
            return (connection, try outcome.get())
        } catch {
            throw error.during("no link to \(address)")
        }
    }

    private static func connect(
        _ address: LinkAddress, _ eventLoop: any EventLoop, _ deadline: Duration, _ configuration: LinkConfiguration
    ) async throws(ShoalError) -> FrameConnection {
        let bootstrap = FrameConnection.clientBootstrap(eventLoop, configuration)
            .connectTimeout(TimeAmount(deadline))
        let initialize: @Sendable (any Channel) -> EventLoopFuture<FrameConnection> = { channel in
            channel.eventLoop.makeCompletedFuture { try FrameConnection.attach(to: channel, configuration) }
        }
        do {
            guard let target = address.socketAddress else {
                return try await bootstrap.connect(
                    host: address.host, port: Int(address.port), channelInitializer: initialize)
            }
            return try await bootstrap.connect(to: target, channelInitializer: initialize)
        } catch {
            throw sentence(for: error, address: address, deadline: deadline)
        }
    }

    private static func exchangeHellos(
        on connection: FrameConnection, hello: LinkHello, deadline: Duration
    ) async -> HelloExchange.Outcome {
        await withCheckedContinuation { continuation in
            connection.eventLoop.execute {
                HelloExchange.begin(on: connection, side: .dialling(hello), deadline: deadline) {
                    continuation.resume(returning: $0)
                }
            }
        }
    }

    private static func sentence(for error: any Error, address: LinkAddress, deadline: Duration) -> ShoalError {
        switch error {
        case let error as NIOConnectionError:
            if let cause = error.connectionErrors.first?.error {
                return sentence(for: cause, address: address, deadline: deadline)
            }
            return ShoalError(.addressUnusable, "the name \(address.host) cannot be resolved; use an IP address")
        case ChannelError.connectTimeout:
            return timedOut(address, deadline)
        case let error as IOError:
            return sentence(forErrno: error.errnoCode, address: address, deadline: deadline)
        default:
            return ShoalError(.linkLost, "no link to \(address): \(error)")
        }
    }

    private static func sentence(forErrno code: CInt, address: LinkAddress, deadline: Duration) -> ShoalError {
        switch SystemErrno(code) {
        case .connectionRefused:
            ShoalError(
                .linkLost, "nothing listens at \(address): the connection was refused; is `shoal serve` running?")
        case .unreachable:
            ShoalError(.linkLost, "\(address) cannot be reached from this machine (errno \(code))")
        case .timedOut:
            timedOut(address, deadline)
        case .addressInUse, .other:
            ShoalError(.linkLost, "no link to \(address): errno \(code)")
        }
    }

    private static func timedOut(_ address: LinkAddress, _ deadline: Duration) -> ShoalError {
        ShoalError(.timedOut, "\(address) did not answer within \(deadline); a firewall may drop the connection")
    }
}
