/// The options of `shoal serve`, explained in docs/configuration.md. Raw values are the keys of the configuration file.
enum ServeOption: String, CaseIterable, Sendable {
    case name, data, api, link, advertise, discovery, peers, clusterKey, join, threads, memory, models, logLevel
    case llamaBin, rpcWorkers, rpcSettle, debugRecovery

    /// On the command line.
    var flag: String {
        switch self {
        case .peers: "--peer"
        case .logLevel: "--log-level"
        case .clusterKey: "--cluster-key"
        case .llamaBin: "--llama-bin"
        case .rpcWorkers: "--rpc-worker"
        case .rpcSettle: "--rpc-settle"
        case .debugRecovery: "--debug-recovery"
        default: "--\(rawValue)"
        }
    }

    /// In the environment.
    var variable: String {
        switch self {
        case .logLevel: "SHOAL_LOG_LEVEL"
        case .clusterKey: "SHOAL_CLUSTER_KEY"
        case .llamaBin: "SHOAL_LLAMA_BIN"
        case .rpcWorkers: "SHOAL_RPC_WORKERS"
        case .rpcSettle: "SHOAL_RPC_SETTLE"
        case .debugRecovery: "SHOAL_DEBUG_RECOVERY"
        default: "SHOAL_\(rawValue.uppercased())"
        }
    }

    /// Whether it takes several values.
    var isList: Bool { self == .peers || self == .models || self == .rpcWorkers }
}
