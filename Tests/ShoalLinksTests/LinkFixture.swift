import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalTrust
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

    private static let identities = Result { try TestTrust.members(["listener", "dialler"]) }

    /// Two members of one cluster.
    static func listener() throws -> LinkSecurity { try identities.get()[0] }
    static func dialler() throws -> LinkSecurity { try identities.get()[1] }

    /// Of the dialler, whatever it is called, but for "listener".
    static func hello(_ name: String) throws -> LinkHello {
        try hello(of: name == "listener" ? listener() : dialler(), name: name)
    }

    static func hello(of security: LinkSecurity, name: String = "node") -> LinkHello {
        LinkHello(
            nodeID: security.trust.nodeID, nodeName: name, llamaBuild: "b0", linkAddress: "127.0.0.1:7461",
            apiAddress: nil)
    }

    static func listener(
        on group: MultiThreadedEventLoopGroup, address: String = anyPort, security: LinkSecurity? = nil,
        configuration: LinkConfiguration = LinkConfiguration(), into recorder: EventRecorder<Admitted>
    ) async throws -> LinkListener {
        let security = try security ?? listener()
        let hello = hello(of: security, name: "listener")
        return try await LinkListener.bind(
            LinkAddress(parsing: address), eventLoopGroup: group, security: security, configuration: configuration,
            hello: { hello }, onLink: { recorder.record(Admitted(connection: $0, hello: $1)) })
    }

    /// A TLS connection that speaks only what the test writes: by default as a member.
    static func stranger(
        to address: LinkAddress, on group: MultiThreadedEventLoopGroup, tls: TestTLS? = nil
    ) async throws -> (any Channel, RecordingBytes) {
        let tls = try tls ?? TestTLS(key: dialler().trust.nodeKey)
        let bytes = RecordingBytes()
        let context = try tls.context()
        let channel = try await ClientBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try NIOSSLClientHandler(
                        context: context, serverHostname: nil,
                        customVerificationCallback: { _, promise in promise.succeed(.certificateVerified) })
                    try channel.pipeline.syncOperations.addHandlers(handler, RecordingBytes.Handler(bytes))
                }
            }
            .connect(host: address.host, port: Int(address.port)).get()
        return (channel, bytes)
    }
}

/// How a test speaks TLS: everything that a peer could do wrong.
struct TestTLS {
    /// Nil presents no certificate.
    var key: NodeKey?
    var maximumVersion = TLSVersion.tlsv13
    var applicationProtocol = "shoal/1"

    func context() throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .noHostnameVerification
        configuration.trustRoots = .certificates([])
        configuration.minimumTLSVersion = .tlsv12
        configuration.maximumTLSVersion = maximumVersion
        configuration.applicationProtocols = [applicationProtocol]
        if let key {
            configuration.certificateChain = [
                .certificate(try NIOSSLCertificate(bytes: key.certificateDER, format: .der))
            ]
            configuration.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: key.privateKeyDER, format: .der))
        }
        return try NIOSSLContext(configuration: configuration)
    }
}

/// What came out of a TLS connection, and its end.
final class RecordingBytes: Sendable {
    enum Event: Sendable {
        case bytes(ByteBuffer)
        case handshake(String?)
        case end

        var isBytesOrEnd: Bool {
            guard case .handshake = self else { return true }
            return false
        }
    }

    let recorder = EventRecorder<Event>()

    /// Waits for the end and returns how many bytes of the application came before it.
    func byteCountUntilEnd() async -> Int {
        _ = await recorder.first { event in
            guard case .end = event else { return false }
            return true
        }
        return recorder.events.reduce(0) { count, event in
            guard case .bytes(let buffer) = event else { return count }
            return count + buffer.readableBytes
        }
    }

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

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent else { return }
            bytes.recorder.record(.handshake(negotiated))
        }

        func channelInactive(context: ChannelHandlerContext) { bytes.recorder.record(.end) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
