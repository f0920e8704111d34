import ArgumentParser
import Logging
import ShoalCore

/// `shoal serve`. Options have no defaults here, so that environment and configuration file can set them.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run a node of the cluster on this machine.",
        discussion:
            "Every option can also be an environment variable (SHOAL_NAME, SHOAL_PEERS=a:1,b:2, …) or a key of a "
            + "JSON configuration file; the command line wins, then the environment, then the file.")

    @Option(name: .long, help: "This node's name (default: the host's name).")
    var name: String?

    @Option(name: .long, help: "Folder for identity and state (default: the user's data folder).")
    var data: String?

    @Option(name: .long, help: "HOST:PORT of the HTTP API (default: 127.0.0.1:7460).")
    var api: String?

    @Option(name: .long, help: "HOST:PORT where other nodes connect (default: 127.0.0.1:7461).")
    var link: String?

    @Option(name: .long, help: "HOST:PORT that other nodes are told to connect to (default: that of --link).")
    var advertise: String?

    @Option(name: .long, help: "on or off: whether nodes find each other on the local network (default: on).")
    var discovery: String?

    @Option(name: .customLong("peer"), help: "HOST:PORT of another node's link; may be given several times.")
    var peers: [String] = []

    @Option(
        name: .long,
        help: "A file with a key, or the key, that lets in every node with the same one (default: invites only).")
    var clusterKey: String?

    @Option(name: .long, help: "A code of shoal invite: join that cluster when this node starts.")
    var join: String?

    @Option(name: .long, help: "Threads that compute (default: the number of processors).")
    var threads: String?

    @Option(name: .long, help: "Memory that models may take, such as 6GiB (default: what is available).")
    var memory: String?

    @Option(name: .long, help: "A folder with GGUF files; may be given several times.")
    var models: [String] = []

    @Option(name: .long, help: "Folder of llama-server and ggml-rpc-server (default: found by itself).")
    var llamaBin: String?

    @Option(
        name: .customLong("rpc-worker"),
        help: "HOST:PORT of a ggml-rpc-server that runs without Shoal; may be given several times.")
    var rpcWorkers: [String] = []

    @Option(name: .long, help: "Seconds between the last worker's readiness and llama-server's start (default: 0).")
    var rpcSettle: String?

    @Flag(name: .long, help: "Log every step of a recovery of the rpc engine.")
    var debugRecovery = false

    @Option(name: .long, help: "A JSON file with options (default: $SHOAL_CONFIG).")
    var config: String?

    @Option(name: .long, help: "trace, debug, info, notice, warning, error or critical (default: info).")
    var logLevel: String?

    func run() async throws {
        try await reportingErrors {
            let settings = try await settings(machine: .current)
            LoggingSystem.bootstrap(StreamLogHandler.standardError)
            var logger = Logger(label: "shoal")
            logger.logLevel = settings.logLevel
            try await runNode(settings, logger: logger)
        }
    }

    /// All sources together.
    func settings(machine: MachineFacts) async throws(ShoalError) -> ServeSettings {
        let file = config ?? machine.environment["SHOAL_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
        let sources = try await SettingsSources(
            commandLine: typed, environment: machine.environment, file: file.flatMap(machine.absolutePath))
        return try ServeSettings(sources, machine: machine)
    }

    private var typed: [ServeOption: [String]] {
        let single: [ServeOption: String?] = [
            .name: name, .data: data, .api: api, .link: link, .advertise: advertise, .discovery: discovery,
            .clusterKey: clusterKey, .join: join, .threads: threads,
            .memory: memory, .logLevel: logLevel, .llamaBin: llamaBin, .rpcSettle: rpcSettle,
            .debugRecovery: debugRecovery ? "true" : nil,
        ]
        return single.compactMapValues { $0.map { [$0] } }
            .merging([.peers: peers, .models: models, .rpcWorkers: rpcWorkers]) { $1 }
    }
}
