package import NIOCore
internal import NIOPosix
package import ShoalCore
package import ShoalTrust

/// Makes links to other nodes.
package enum LinkDialer {
    /// Connects, proves who is who, exchanges hellos, and returns a connection that is not yet started, with what the
    /// peer said. `expected` refuses any other node that answers there.
    ///
    /// `deadline` bounds the whole of it. Throws, each with a sentence that names `address`: `addressUnusable` (name
    /// not found), `linkLost` (refused, unreachable, broke), `timedOut`, `notAMember` (of the same cluster),
    /// `protocolViolation` (another protocol version, not Shoal).
    package static func dial(
        _ address: LinkAddress, eventLoop: any EventLoop, security: LinkSecurity, hello: LinkHello,
        expected: NodeID? = nil, deadline: Duration = .seconds(5),
        configuration: LinkConfiguration = LinkConfiguration()
    ) async throws(ShoalError) -> (FrameConnection, LinkHello) {
        let begin = NIODeadline.now()
        let connection = try await connect(
            address, eventLoop, security, .dialling(expected: expected), deadline, configuration)
        let outcome = await open(
            .dial, on: connection, security, joining: nil, hello: hello, deadline: remaining(of: deadline, since: begin)
        )
        guard !Task.isCancelled else {
            connection.close(because: nil)
            throw ShoalError(.cancelled, "dialling \(address) was cancelled")
        }
        switch outcome {
        case .success(.link(let theirs)): return (connection, theirs)
        case .success(.joined): throw ShoalError(.internal, "a link to \(address) was opened without a hello")
        case .failure(let error): throw error.during("no link to \(address)")
        }
    }

    /// Becomes a member of the cluster that issued `code`, by the first of its addresses that answers; afterwards the
    /// trust has the cluster's members, and the addresses can be dialled. Throws what every address said.
    ///
    /// `deadline` is for each address. `hello` is not sent.
    package static func join(
        _ code: InviteCode, eventLoop: any EventLoop, security: LinkSecurity, hello: LinkHello,
        deadline: Duration = .seconds(5), configuration: LinkConfiguration = LinkConfiguration()
    ) async throws(ShoalError) {
        let pending = try security.trust.request(with: code)
        var failures: [ShoalError] = []
        for text in code.addresses {
            do throws(ShoalError) {
                try await join(
                    LinkAddress(parsing: text), pending, issuer: code.issuer, eventLoop, security, hello, deadline,
                    configuration)
                return
            } catch {
                failures.append(error)
                // The issuer itself has spoken.
                if error.code == .notAMember { break }
            }
        }
        let code = failures.last?.code ?? .internal
        throw ShoalError(code, failures.map(\.message).joined(separator: "; "))
    }

    private static func join(
        _ address: LinkAddress, _ pending: PendingAdmission, issuer: NodeID, _ eventLoop: any EventLoop,
        _ security: LinkSecurity, _ hello: LinkHello, _ deadline: Duration, _ configuration: LinkConfiguration
    ) async throws(ShoalError) {
        let begin = NIODeadline.now()
        let connection = try await connect(
            address, eventLoop, security, .joining(issuer: issuer), deadline, configuration)
        let outcome = await open(
            .join, on: connection, security, joining: pending, hello: hello,
            deadline: remaining(of: deadline, since: begin))
        connection.close(because: nil)
        guard case .failure(let error) = outcome else { return }
        throw error.during("not joined at \(address)")
    }

    private static func remaining(of deadline: Duration, since begin: NIODeadline) -> Duration {
        max(deadline - Duration.nanoseconds((NIODeadline.now() - begin).nanoseconds), .zero)
    }

    private static func connect(
        _ address: LinkAddress, _ eventLoop: any EventLoop, _ security: LinkSecurity, _ role: LinkSecurity.Role,
        _ deadline: Duration, _ configuration: LinkConfiguration
    ) async throws(ShoalError) -> FrameConnection {
        let bootstrap = FrameConnection.clientBootstrap(eventLoop, configuration)
            .connectTimeout(TimeAmount(deadline))
        let initialize: @Sendable (any Channel) -> EventLoopFuture<FrameConnection> = { channel in
            channel.eventLoop.makeCompletedFuture {
                try FrameConnection.attach(to: channel, configuration, security, role)
            }
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

    private static func open(
        _ goal: LinkOpening.Goal, on connection: FrameConnection, _ security: LinkSecurity, joining: PendingAdmission?,
        hello: LinkHello, deadline: Duration
    ) async -> HelloExchange.Outcome {
        await withCheckedContinuation { continuation in
            connection.eventLoop.execute {
                HelloExchange.begin(
                    goal, on: connection, security: security, joining: joining, hello: { hello }, deadline: deadline
                ) { continuation.resume(returning: $0) }
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
