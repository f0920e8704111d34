import Hummingbird
import NIOCore

/// What travels with a request through the router.
struct GatewayRequestContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// Whether the client is on this machine.
    let isLocal: Bool

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        isLocal = Self.isLoopback(source.channel.remoteAddress)
    }

    /// Without an address there is no network: a test, or a local socket.
    static func isLoopback(_ address: SocketAddress?) -> Bool {
        guard let host = address?.ipAddress else { return true }
        return host.hasPrefix("127.") || host == "::1" || host.hasPrefix("::ffff:127.")
    }
}
