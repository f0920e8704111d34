package import NIOCore
internal import NIOPosix
package import ShoalCore
internal import Synchronization

/// Accepts links from other nodes.
package final class LinkListener: Sendable {
    /// Called on the new connection's event loop, with a connection that is not yet started.
    package typealias OnLink = @Sendable (FrameConnection, LinkHello) -> Void

    /// Where it listens, with the real port when 0 was asked for.
    package let boundAddress: LinkAddress
    private let channel: any Channel
    private let admission: LinkAdmission

    private init(channel: any Channel, boundAddress: LinkAddress, admission: LinkAdmission) {
        self.channel = channel
        self.boundAddress = boundAddress
        self.admission = admission
    }

    /// Listens at `address`, answers every member's hello with `hello()` and hands each admitted link to `onLink`. Who
    /// is neither a member nor becomes one, as `security` decides, hears nothing.
    ///
    /// Throws `addressUnusable`: port in use, not permitted, not of this machine. `LinkConfiguration` bounds how many
    /// connections may be without a hello, and for how long.
    package static func bind(
        _ address: LinkAddress, eventLoopGroup: any EventLoopGroup, security: LinkSecurity,
        configuration: LinkConfiguration = LinkConfiguration(), hello: @escaping @Sendable () -> LinkHello,
        onLink: @escaping OnLink
    ) async throws(ShoalError) -> LinkListener {
        let admission = LinkAdmission(security: security, configuration: configuration, hello: hello, onLink: onLink)
        let bootstrap = ServerBootstrap(group: eventLoopGroup)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.writeBufferWaterMark, value: FrameConnection.waterMark(configuration))
            .childChannelOption(.recvAllocator, value: FrameConnection.receiveAllocator)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try admission.admit(channel) }
            }
        do {
            let channel = try await bootstrap.bind(host: address.host, port: Int(address.port)).get()
            let port = channel.localAddress?.port.flatMap(UInt16.init(exactly:)) ?? address.port
            return LinkListener(
                channel: channel, boundAddress: try LinkAddress(host: address.host, port: port), admission: admission)
        } catch {
            throw sentence(for: error, address: address)
        }
    }

    /// Stops listening and closes connections that have not said hello. Admitted links stay.
    package func close() async {
        admission.close()
        // Closing fails only when the channel is closed already, which is what is wanted.
        try? await channel.close()
    }

    private static func sentence(for error: any Error, address: LinkAddress) -> ShoalError {
        guard let code = (error as? IOError)?.errnoCode else {
            return ShoalError(.addressUnusable, "cannot listen for links at \(address): \(error)")
        }
        if SystemErrno(code) == .addressInUse {
            return ShoalError(
                .addressUnusable,
                "cannot listen for links at \(address): port \(address.port) is in use by another program; "
                    + "choose another --link")
        }
        return ShoalError(.addressUnusable, "cannot listen for links at \(address): errno \(code)")
    }
}

/// The connections of a listener that have not said hello yet.
private final class LinkAdmission: Sendable {
    private struct State {
        var isClosed = false
        var halfOpen: [ObjectIdentifier: FrameConnection] = [:]
    }

    private let security: LinkSecurity
    private let configuration: LinkConfiguration
    private let hello: @Sendable () -> LinkHello
    private let onLink: LinkListener.OnLink
    private let state = Mutex(State())

    init(
        security: LinkSecurity, configuration: LinkConfiguration, hello: @escaping @Sendable () -> LinkHello,
        onLink: @escaping LinkListener.OnLink
    ) {
        self.security = security
        self.configuration = configuration
        self.hello = hello
        self.onLink = onLink
    }

    /// In the channel's initializer. Throwing closes the channel.
    func admit(_ channel: any Channel) throws {
        let connection = try FrameConnection.attach(to: channel, configuration, security, .listening)
        try register(connection)
        // The channel becomes active after its initializer; the handshake is read from then on.
        connection.eventLoop.execute { [self] in
            HelloExchange.begin(
                .listen, on: connection, security: security, hello: hello, deadline: configuration.helloDeadline
            ) { [self] outcome in opened(connection, outcome) }
        }
    }

    private func opened(_ connection: FrameConnection, _ outcome: HelloExchange.Outcome) {
        let isOpen = unregister(connection)
        switch outcome {
        case .success(.link(let hello)) where isOpen: onLink(connection, hello)
        case .success: connection.close(because: nil)
        case .failure(let error) where isOpen: security.logRefusal(host: connection.peerHost ?? "?", error)
        case .failure: break
        }
    }

    func close() {
        let halfOpen = state.withLock { state in
            state.isClosed = true
            return Array(state.halfOpen.values)
        }
        for connection in halfOpen { connection.close(because: nil) }
    }

    private func register(_ connection: FrameConnection) throws(ShoalError) {
        let isAdmitted = state.withLock { state in
            guard !state.isClosed, state.halfOpen.count < configuration.halfOpenConnectionCountMax else { return false }
            state.halfOpen[ObjectIdentifier(connection)] = connection
            return true
        }
        guard isAdmitted else { throw ShoalError(.overloaded, "too many connections without a hello") }
    }

    /// Returns whether the listener still wants links.
    private func unregister(_ connection: FrameConnection) -> Bool {
        state.withLock { state in
            state.halfOpen[ObjectIdentifier(connection)] = nil
            return !state.isClosed
        }
    }
}
