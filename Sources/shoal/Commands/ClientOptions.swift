import ArgumentParser
import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Options of every command that talks to a node.
struct ClientOptions: ParsableArguments {
    static let defaultEndpoint = NetworkEndpoint(host: "127.0.0.1", port: 7460)

    @Option(name: .long, help: "HOST:PORT of the node's API (default: $SHOAL_HOST, or 127.0.0.1:7460).")
    var host: String?

    /// Where the node is. Throws a sentence that says where a wrong address came from.
    func endpoint(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(ShoalError) -> NetworkEndpoint {
        let variable = environment["SHOAL_HOST"].flatMap { $0.isEmpty ? nil : $0 }
        guard let text = host ?? variable else { return ClientOptions.defaultEndpoint }
        guard let endpoint = NetworkEndpoint(parsing: text, defaults: ClientOptions.defaultEndpoint) else {
            let source = host == nil ? "SHOAL_HOST" : "--host"
            throw ShoalError(.addressUnusable, "\(source) is \"\(text)\", which is not HOST:PORT")
        }
        return endpoint
    }

    /// Runs `body` with a client of the node. Failures are told in one sentence and end the program with code 1.
    func withClient(_ body: (NodeClient) async throws -> Void) async throws {
        try await reportingErrors { try await NodeClient.with(try endpoint(), body) }
    }
}

/// Tells a failure in one sentence on standard error and ends the program with code 1.
func reportingErrors(_ body: () async throws -> Void) async throws {
    do {
        try await body()
    } catch let error as ShoalError {
        Terminal.note("shoal: \(error.message)")
        throw ExitCode.failure
    }
}
