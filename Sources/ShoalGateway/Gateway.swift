import Hummingbird
package import Logging
import NIOCore
import ServiceLifecycle
package import ShoalCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#else
    #error("no C library that defines EADDRINUSE")
#endif

/// The HTTP server of a node: OpenAI's API, the cluster's own, and health.
///
/// It sees the node only through `InferenceService` and `ClusterService`. As a service it runs until graceful shutdown
/// or cancellation; then it refuses new connections and lets answers that run end.
package struct Gateway: Service {
    private let configuration: GatewayConfiguration
    private let routes: Routes
    private let logger: Logger
    private let onListening: @Sendable (_ port: Int) async -> Void

    /// `onListening` is called once, with the port in use, when connections are accepted.
    package init(
        configuration: GatewayConfiguration, inference: any InferenceService, cluster: any ClusterService,
        logger: Logger, onListening: @escaping @Sendable (_ port: Int) async -> Void = { _ in }
    ) {
        self.configuration = configuration
        self.logger = logger
        self.onListening = onListening
        let responder = AnswerResponder(
            inference: inference, cluster: cluster, unixSeconds: configuration.unixSeconds,
            makeRequestID: configuration.makeRequestID)
        routes = Routes(responder: responder, inference: inference, cluster: cluster)
    }

    /// Throws `.addressUnusable` if the address cannot be listened on, because another program does or otherwise.
    package func run() async throws {
        do {
            try await makeApplication().run()
        } catch let error as IOError {
            throw unusable(reason: error.errnoCode == EADDRINUSE ? "another program listens there" : "\(error)")
        } catch let error as SocketAddressError {
            throw unusable(reason: "\(error)")
        }
    }

    /// The server as Hummingbird sees it; tests drive it without a socket.
    func makeApplication() -> some ApplicationProtocol {
        let onListening = onListening
        return Application(
            router: routes.makeRouter(),
            server: .http1(configuration: .init(idleTimeout: .seconds(GatewayLimits.idleSeconds))),
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.host, port: configuration.port),
                serverName: "shoal/\(ShoalVersion.current)",
                availableConnectionsDelegate: .maximum(GatewayLimits.connectionCountMax, logger: logger)),
            onServerRunning: { channel in
                if let port = channel.localAddress?.port { await onListening(port) }
            },
            logger: logger)
    }

    private func unusable(reason: String) -> ShoalError {
        ShoalError(
            .addressUnusable,
            "the API cannot listen on \(configuration.host):\(configuration.port): \(reason); choose another --api")
    }
}
