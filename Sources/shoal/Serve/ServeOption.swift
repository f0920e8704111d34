/// The options of `shoal serve`, explained in docs/configuration.md. Raw values are the keys of the configuration file.
enum ServeOption: String, CaseIterable, Sendable {
    case name, data, api, link, advertise, discovery, peers, clusterKey, join, threads, memory, models, logLevel

    /// On the command line.
    var flag: String {
        switch self {
        case .peers: "--peer"
        case .logLevel: "--log-level"
        case .clusterKey: "--cluster-key"
        default: "--\(rawValue)"
        }
    }

    /// In the environment.
    var variable: String {
        switch self {
        case .logLevel: "SHOAL_LOG_LEVEL"
        case .clusterKey: "SHOAL_CLUSTER_KEY"
        default: "SHOAL_\(rawValue.uppercased())"
        }
    }

    /// Whether it takes several values.
    var isList: Bool { self == .peers || self == .models }
}
