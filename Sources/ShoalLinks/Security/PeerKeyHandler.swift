internal import NIOCore
internal import NIOSSL
internal import NIOTLS
internal import ShoalCore
internal import ShoalTrust

/// Between TLS and frames: whose key the handshake proved, and what TLS errors mean. On the channel's loop.
final class PeerKeyHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    /// Fulfilled once the handshake is complete.
    let proved: EventLoopFuture<NodeID>
    private let promise: EventLoopPromise<NodeID>
    private let refusal: (NodeID) -> ShoalError?
    private var peer: NodeID?
    private var ownRefusal: ShoalError?

    /// `refusal` is nil for a peer that is allowed.
    init(eventLoop: any EventLoop, refusal: @escaping (NodeID) -> ShoalError?) {
        self.refusal = refusal
        promise = eventLoop.makePromise()
        proved = promise.futureResult
    }

    /// Called by TLS with what the peer presents, which it proves in the same handshake.
    func accepts(_ chain: [NIOSSLCertificate]) -> Bool {
        // A certificate whose key cannot be read is refused like a missing one.
        guard let key = try? chain.first?.extractPublicKey().toSPKIBytes(), let peer = NodeKey.nodeID(ofPublicKey: key)
        else {
            ownRefusal = ShoalError(.notAMember, "the peer has no readable certificate")
            return false
        }
        ownRefusal = refusal(peer)
        guard ownRefusal == nil else { return false }
        self.peer = peer
        return true
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent {
            // A resumed session skips the certificate: then there is no peer, and no link.
            if let peer, negotiated == LinkSecurity.applicationProtocol {
                promise.succeed(peer)
            } else {
                fail(ShoalError(.protocolViolation, "the peer speaks TLS but not Shoal's protocol"), context)
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        // An end without TLS's goodbye is how killed processes end; frames have lengths, so a cut shows anyway.
        case NIOSSLError.uncleanShutdown: break
        case is NIOSSLCloseTimedOutError: break
        case is NIOSSLError, is BoringSSLError: fail(ownRefusal ?? Self.sentence(error, context), context)
        default: context.fireErrorCaught(error)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise.fail(ChannelError.eof)
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { promise.fail(ChannelError.eof) }

    private func fail(_ error: ShoalError, _ context: ChannelHandlerContext) {
        promise.fail(error)
        context.fireErrorCaught(error)
    }

    private static func sentence(_ error: any Error, _ context: ChannelHandlerContext) -> ShoalError {
        let address = context.channel.remoteAddress?.ipAddress ?? "the peer"
        return ShoalError(
            .notAMember,
            "\(address) ended the TLS handshake: it is no Shoal node of this protocol version, or this node is not a "
                + "member of its cluster (\(error))")
    }
}
