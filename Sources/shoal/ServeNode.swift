import Logging
import ServiceLifecycle
import ShoalCore
import ShoalEngine
import ShoalGateway
import ShoalNode
import ShoalTrust
import UnixSignals

/// Runs a node with its API until SIGTERM or SIGINT, then ends its requests, engines and links.
/// Throws a `ShoalError` when an address or the data folder cannot be used.
func runNode(_ settings: ServeSettings, logger: Logger) async throws {
    let api = settings.api
    var configuration = NodeConfiguration(
        name: settings.name, dataDirectory: settings.dataDirectory, linkAddress: "\(settings.link)")
    configuration.apiAddress = "\(api)"
    configuration.peerAddresses = settings.peers.map(\.description)
    configuration.clusterKey = settings.clusterKey
    configuration.threadCount = settings.threadCount
    configuration.memoryLimit = settings.memory
    configuration.advertisedAddress = settings.advertise.map(\.description)
    configuration.discovers = settings.discovers
    configuration.measuresSpeed = true
    configuration.modelFolders = settings.modelDirectories
    configuration.llamaTools = LlamaExecutables.find(settings.llamaBinDirectory)
    configuration.foreignWorkers = settings.rpcWorkers.map(\.description)
    configuration.settleDuration = .seconds(settings.rpcSettleSeconds)
    configuration.explainsRecovery = settings.debugsRecovery
    let engine = try EngineExecutable.path()
    configuration.llamaBuild = await EngineExecutable.build(of: engine)
    let launcher = ProcessEngineLauncher(
        executablePath: engine, logDirectory: settings.dataDirectory + "/logs")
    let node = try Node(configuration: configuration, launcher: launcher, logger: logger)
    let gateway = Gateway(
        configuration: GatewayConfiguration(host: api.host, port: api.port), inference: node, cluster: node,
        logger: logger,
        onListening: { port in
            logger.info("serving", metadata: ["api": "\(api.host):\(port)", "node.id": "\(node.id)"])
        })
    try await node.open()
    if let invite = settings.invite {
        let joined = try await node.join(invite.description)
        logger.info("joined", metadata: ["cluster.id": "\(joined.clusterID)"])
    }
    // Shut down in reverse: the node ends its answers, then the API closes its connections.
    var group = ServiceGroupConfiguration(
        services: [
            .init(service: gateway, successTerminationBehavior: .gracefullyShutdownGroup),
            .init(service: NodeService(node: node), successTerminationBehavior: .gracefullyShutdownGroup),
        ],
        gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet(logger))
    group.maximumGracefulShutdownDuration = .seconds(10)
    try await ServiceGroup(configuration: group).run()
}

/// The node as a service: ends when the group shuts down gracefully, or is cancelled.
private struct NodeService: Service {
    let node: Node

    func run() async throws {
        await cancelWhenGracefulShutdown { [node] in await node.run() }
    }
}

/// The service group reports each of its own steps; only its problems are of interest.
private func quiet(_ logger: Logger) -> Logger {
    var quiet = logger
    quiet.logLevel = max(logger.logLevel, .warning)
    return quiet
}
