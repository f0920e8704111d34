package import Logging
internal import NIOCore
internal import NIOSSL
package import ShoalCore
package import ShoalTrust
internal import Synchronization

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// TLS for a node's links: 1.3 and nothing else, both sides with the key they are known by, and only keys that the
/// member list, or an admission that is under way, allows. Any thread.
package final class LinkSecurity: Sendable {
    /// Whom a connection may turn out to be with.
    enum Role {
        case listening
        /// A member, or where the cluster key is shared anybody who can prove it; a certain one if given.
        case dialling(expected: NodeID?)
        /// The issuer of an invite.
        case joining(issuer: NodeID)
    }

    /// Agreed on by ALPN, so that nothing else that speaks TLS gets any further.
    static let applicationProtocol = "shoal/1"
    private static let versionRefusalCountMax = 16

    package let trust: ClusterTrust
    /// In seconds since 1970.
    let unixSeconds: @Sendable () -> Int
    private let logger: Logger
    private let server: NIOSSLContext
    private let client: NIOSSLContext
    private let state = Mutex(State())

    private struct State {
        var attempts = AttemptLimit()
        var open: [NodeID: [ObjectIdentifier: FrameConnection]] = [:]
        var refusals = RefusalLog()
        var versionRefusals: [String] = []

        mutating func keep(_ refusal: String) {
            guard !versionRefusals.contains(refusal) else { return }
            if versionRefusals.count >= LinkSecurity.versionRefusalCountMax { versionRefusals.removeFirst() }
            versionRefusals.append(refusal)
        }
    }

    /// `unixSeconds` decides whether invites have expired. Throws `internal` when the node's key does not suit TLS.
    package init(
        trust: ClusterTrust, logger: Logger,
        unixSeconds: @escaping @Sendable () -> Int = { Int(Date().timeIntervalSince1970) }
    ) throws(ShoalError) {
        self.trust = trust
        self.logger = logger
        self.unixSeconds = unixSeconds
        do {
            let certificate = try NIOSSLCertificate(bytes: trust.nodeKey.certificateDER, format: .der)
            let key = try NIOSSLPrivateKey(bytes: trust.nodeKey.privateKeyDER, format: .der)
            server = try NIOSSLContext(
                configuration: Self.configured(
                    .makeServerConfiguration(
                        certificateChain: [.certificate(certificate)], privateKey: .privateKey(key))
                ))
            var client = TLSConfiguration.makeClientConfiguration()
            client.certificateChain = [.certificate(certificate)]
            client.privateKey = .privateKey(key)
            self.client = try NIOSSLContext(configuration: Self.configured(client))
        } catch {
            throw ShoalError(.internal, "the node's key cannot be used for TLS: \(error)")
        }
        trust.observe { [weak self] event in
            guard case .memberRemoved(let node) = event else { return }
            self?.closeLinks(with: node)
        }
    }

    private static func configured(_ configuration: TLSConfiguration) -> TLSConfiguration {
        var configuration = configuration
        configuration.minimumTLSVersion = .tlsv13
        configuration.maximumTLSVersion = .tlsv13
        configuration.applicationProtocols = [applicationProtocol]
        // With `.none` the callback that checks the peer's key would never be called. Source: NIOSSL, SSLConnection.
        configuration.certificateVerification = .noHostnameVerification
        configuration.trustRoots = .certificates([])
        configuration.shutdownTimeout = TimeAmount(LinkConfiguration.tlsClosingDeadline)
        return configuration
    }

    // MARK: The handshake, on the channel's loop

    /// Adds TLS to a channel that is being initialized. The future is the peer whose key was proved and is allowed; it
    /// fails with the channel.
    func secure(_ channel: any Channel, _ role: Role) throws -> EventLoopFuture<NodeID> {
        let peerKey = PeerKeyHandler(eventLoop: channel.eventLoop) { [self] peer in
            refusal(of: peer, role, host: channel.remoteAddress?.ipAddress ?? "")
        }
        let verify: NIOSSLCustomVerificationCallback = { chain, promise in
            promise.succeed(peerKey.accepts(chain) ? .certificateVerified : .failed)
        }
        let handler: NIOSSLHandler =
            switch role {
            case .listening: NIOSSLServerHandler(context: server, customVerificationCallback: verify)
            case .dialling, .joining:
                try NIOSSLClientHandler(context: client, serverHostname: nil, customVerificationCallback: verify)
            }
        try channel.pipeline.syncOperations.addHandlers(handler, peerKey)
        return peerKey.proved
    }

    /// Nil when a connection with `peer` may go on.
    private func refusal(of peer: NodeID, _ role: Role, host: String) -> ShoalError? {
        switch role {
        case .joining(let issuer):
            peer == issuer
                ? nil : ShoalError(.linkLost, "another node answers there than the one that issued the invite")
        case .dialling(let expected?) where expected != peer:
            ShoalError(.notAMember, "node \(peer) answers there, not node \(expected)")
        case .dialling:
            trust.isMember(peer) || trust.sharesKey ? nil : Self.stranger(peer)
        case .listening:
            trust.isMember(peer) || mayTry(host) ? nil : Self.stranger(peer)
        }
    }

    private static func stranger(_ peer: NodeID) -> ShoalError {
        ShoalError(.notAMember, "node \(peer) is not a member of this cluster; shoal invite and shoal join make it one")
    }

    private func mayTry(_ host: String) -> Bool {
        guard trust.admitsStrangers(now: unixSeconds()) else { return false }
        return state.withLock { $0.attempts.allows(host, now: Self.uptime) }
    }

    // MARK: Open links

    /// Keeps `connection` so that it closes when its node stops being a member.
    func register(_ connection: FrameConnection, with peer: NodeID) {
        let id = ObjectIdentifier(connection)
        state.withLock { $0.open[peer, default: [:]][id] = connection }
        connection.whenClosed { [self] in
            state.withLock { state in
                state.open[peer]?[id] = nil
                if state.open[peer]?.isEmpty ?? false { state.open[peer] = nil }
            }
        }
    }

    private func closeLinks(with peer: NodeID) {
        let connections = state.withLock { Array($0.open[peer, default: [:]].values) }
        for connection in connections { connection.close(because: MemberList.removed(peer)) }
    }

    /// Nodes that dialled this one and do not speak its protocol, in sentences; the last few.
    package var versionRefusals: [String] { state.withLock { $0.versionRefusals } }

    /// Says once per reason why somebody at `host` was refused, so that trying again does not fill the log.
    func logRefusal(host: String, _ error: ShoalError) {
        let now = Self.uptime
        let answer = state.withLock { state in
            let told = "a connection from \(host) was refused: \(error.message)"
            if error.code == .protocolViolation { state.keep(told) }
            return state.refusals.note(host: host, reason: error.message, now: now)
        }
        var metadata: Logger.Metadata = ["host": "\(host)", "reason": "\(error.message)"]
        switch answer {
        case .silence: return
        case .tell: break
        case .tellLast: metadata["note"] = "more of these are not logged for \(RefusalLog.period)"
        }
        logger.warning("a connection was refused", metadata: metadata)
    }

    private static var uptime: Duration { .nanoseconds(Int64(clamping: NIODeadline.now().uptimeNanoseconds)) }
}
