import Logging
import ShoalCore
import ShoalTrust

/// How a node runs: every option of `shoal serve` with its final value.
struct ServeSettings: Hashable, Sendable {
    static let defaultAPI = NetworkEndpoint(host: "127.0.0.1", port: 7460)
    static let defaultLink = NetworkEndpoint(host: "127.0.0.1", port: 7461)
    /// The longest name of a node.
    static let nameCharacterCountMax = 64
    static let threadCountMax = 1024
    /// ggml-rpc-server's own default port.
    static let defaultWorkerPort = 50052
    static let settleSecondsMax = 600

    /// What other nodes and `--layers` call it.
    var name: String
    /// Where identity and state are kept; absolute.
    var dataDirectory: String
    /// Where the HTTP API listens.
    var api: NetworkEndpoint
    /// Where other nodes connect.
    var link: NetworkEndpoint
    /// What other nodes are told to connect to, where that is not `link`; nil for `link` itself.
    var advertise: NetworkEndpoint?
    /// Whether the node announces itself on the local network and listens for others.
    var discovers: Bool
    /// Link addresses of other nodes.
    var peers: [NetworkEndpoint]
    /// A key that lets in every node which has it too; nil for the cluster's own.
    var clusterKey: ClusterKey?
    /// The invite to join a cluster with; nil to stay in the own one.
    var invite: InviteCode?
    /// Threads that compute.
    var threadCount: Int
    /// Memory that models may take; nil means what is available.
    var memory: ByteCount?
    /// Folders that are searched for models, in this order; absolute.
    var modelDirectories: [String]
    var logLevel: Logger.Level
    /// The folder of llama-server and ggml-rpc-server; absolute. Nil: looked for.
    var llamaBinDirectory: String?
    /// HOST:PORT of stock workers whose traffic this node carries.
    var rpcWorkers: [NetworkEndpoint]
    /// Between the last worker's readiness and the start of llama-server.
    var rpcSettleSeconds: Int
    /// Whether every step of a recovery is logged.
    var debugsRecovery: Bool

    /// Throws `.invalidRequest` with a sentence that names the option, its value and where it came from.
    init(_ sources: SettingsSources, machine: MachineFacts) throws(ShoalError) {
        name =
            try sources.value(.name, "1 to 64 letters, digits, \".\", \"-\" or \"_\"") { text in
                ServeSettings.isNodeName(text) ? text : nil
            } ?? ServeSettings.nodeName(fromHost: machine.hostName)
        dataDirectory =
            try sources.value(.data, "a folder") { machine.absolutePath($0) } ?? machine.defaultDataDirectory
        api =
            try sources.value(.api, "HOST:PORT") { NetworkEndpoint(parsing: $0, defaults: ServeSettings.defaultAPI) }
            ?? ServeSettings.defaultAPI
        link =
            try sources.value(.link, "HOST:PORT") { NetworkEndpoint(parsing: $0, defaults: ServeSettings.defaultLink) }
            ?? ServeSettings.defaultLink
        advertise = try sources.value(.advertise, "HOST:PORT") {
            NetworkEndpoint(parsing: $0, defaults: ServeSettings.defaultLink)
        }
        discovers = try sources.value(.discovery, "on or off") { ["on": true, "off": false][$0] } ?? true
        peers = try sources.values(.peers, "HOST:PORT") {
            NetworkEndpoint(parsing: $0, defaults: ServeSettings.defaultLink)
        }
        guard peers.count <= Limits.peerCountMax else {
            throw ShoalError(.invalidRequest, "\(peers.count) peers are given; at most \(Limits.peerCountMax) work")
        }
        if let text = try sources.value(.clusterKey, "a key or a file", parse: { $0 }), !text.isEmpty {
            // Not a key: a file, whose path is relative to where the program was started.
            let isKey = ClusterKey(hexadecimal: text) != nil
            clusterKey = try ClusterKey(textOrFile: isKey ? text : machine.absolutePath(text) ?? text)
        }
        if let code = try sources.value(.join, "an invite code", parse: { $0 }), !code.isEmpty {
            invite = try InviteCode(parsing: code)
        }
        threadCount =
            try sources.value(.threads, "a whole number from 1 to \(ServeSettings.threadCountMax)") { text in
                Int(text).flatMap { (1...ServeSettings.threadCountMax).contains($0) ? $0 : nil }
            } ?? machine.processorCount
        memory = try sources.value(.memory, "a size such as 6GiB or 500MB") { text in
            ByteCount(parsing: text).flatMap { $0 > .zero ? $0 : nil }
        }
        modelDirectories = try sources.values(.models, "a folder") { machine.absolutePath($0) }
        let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
        llamaBinDirectory = try sources.value(.llamaBin, "a folder") { machine.absolutePath($0) }
        let defaultWorker = NetworkEndpoint(host: "127.0.0.1", port: ServeSettings.defaultWorkerPort)
        rpcWorkers = try sources.values(.rpcWorkers, "HOST:PORT") {
            NetworkEndpoint(parsing: $0, defaults: defaultWorker)
        }
        guard rpcWorkers.count <= Limits.foreignWorkerCountMax else {
            throw ShoalError(
                .invalidRequest,
                "\(rpcWorkers.count) workers are given; at most \(Limits.foreignWorkerCountMax) work")
        }
        rpcSettleSeconds =
            try sources.value(.rpcSettle, "a whole number of seconds, at most \(ServeSettings.settleSecondsMax)") {
                Int($0).flatMap { (0...ServeSettings.settleSecondsMax).contains($0) ? $0 : nil }
            } ?? 0
        debugsRecovery =
            try sources.value(.debugRecovery, "1, 0, true or false") { text in
                ["1": true, "true": true, "yes": true, "0": false, "false": false, "no": false][text.lowercased()]
            } ?? false
        logLevel = try sources.value(.logLevel, "one of \(levels)") { Logger.Level(rawValue: $0) } ?? .info
    }

    /// Names must survive in `--layers NAME=0-14,…` and in file names.
    static func isNodeName(_ text: String) -> Bool {
        (1...nameCharacterCountMax).contains(text.count) && text.allSatisfy(isNodeNameCharacter)
    }

    /// A host's name with everything replaced that a node's name cannot have.
    static func nodeName(fromHost host: String) -> String {
        let name = String(host.prefix(nameCharacterCountMax).map { isNodeNameCharacter($0) ? $0 : "-" })
        return name.isEmpty ? "node" : name
    }

    private static func isNodeNameCharacter(_ character: Character) -> Bool {
        character.isASCII && (character.isLetter || character.isNumber || ".-_".contains(character))
    }
}
