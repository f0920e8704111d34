import NIOCore
import NIOPosix
import NIOSSL
import ShoalLinks
import ShoalTesting
import ShoalTrust

/// Somebody who connects to a port of a node and has no business there.
enum Stranger {
    /// What the node's side did.
    struct Answer: Sendable {
        /// Everything that arrived; with TLS, what came through it.
        var bytes: [UInt8]
        var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    /// Speaks TLS in whichever way a peer can do it wrong.
    struct TLS: Sendable {
        /// Nil presents no certificate.
        var key: NodeKey?
        var maximumVersion = TLSVersion.tlsv13
        var applicationProtocol = "shoal/1"

        fileprivate func handler() throws -> NIOSSLClientHandler {
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
            return try NIOSSLClientHandler(
                context: NIOSSLContext(configuration: configuration), serverHostname: nil,
                customVerificationCallback: { _, promise in promise.succeed(.certificateVerified) })
        }
    }

    /// Connects to HOST:PORT, sends `words`, and listens until the other side ends the connection. `hangsUp` ends our
    /// own half after the words, for servers that wait for more.
    static func talk(
        to address: String, tls: TLS? = nil, saying words: [UInt8] = [], hangsUp: Bool = false
    ) async throws -> Answer {
        let target = try LinkAddress(parsing: address)
        let heard = EventRecorder<Heard>()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: false)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls { try channel.pipeline.syncOperations.addHandler(tls.handler()) }
                    try channel.pipeline.syncOperations.addHandler(Listening(heard))
                }
            }
            .connect(host: target.host, port: Int(target.port)).get()
        // The node may have hung up already.
        if !words.isEmpty { channel.writeAndFlush(ByteBuffer(bytes: words), promise: nil) }
        if hangsUp { channel.close(mode: .output, promise: nil) }
        _ = await heard.first { $0.isEnd }
        return Answer(bytes: heard.events.flatMap(\.bytes))
    }

    private enum Heard: Sendable {
        case bytes([UInt8])
        case end

        var isEnd: Bool { if case .end = self { true } else { false } }
        var bytes: [UInt8] { if case .bytes(let bytes) = self { bytes } else { [] } }
    }

    private final class Listening: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let heard: EventRecorder<Heard>

        init(_ heard: EventRecorder<Heard>) { self.heard = heard }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            heard.record(.bytes(Array(Self.unwrapInboundIn(data).readableBytesView)))
        }

        func channelInactive(context: ChannelHandlerContext) { heard.record(.end) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
