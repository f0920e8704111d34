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

/// Options that say what to load and where.
struct PlacementOptions: ParsableArguments {
    @Argument(help: "A model's name, or the path of a GGUF file.")
    var model: String

    @Option(name: .long, help: "Layers by node, for example a=0-14,b=15-29 (default: the planner decides).")
    var layers: String?

    @Option(name: .long, help: "Context of each request, in tokens (default: the model's own, at most 4096).")
    var context: Int?

    @Option(name: .long, help: "Requests that run side by side.")
    var sequences: Int?

    @OptionGroup(title: "llama.cpp's own programs") var rpc: RPCPlacementOptions
    @Option(name: .long, help: "latency (of one request) or throughput (of all) (default: latency).")
    var objective: String?

    @Option(
        name: .long,
        help: "What activations are between nodes: f32 (exact), f16 (half the bytes) or q8 (a quarter) (default: f32).")
    var wire: String?
    @Option(
        name: .long,
        help: "Guess what follows and check it at once: off, auto (if it saves time), ngram or draft (default: auto).")
    var speculate: String?

    @Option(name: .long, help: "A small model with the same vocabulary that guesses for this one: its name or path.")
    var draft: String?

    @Option(name: .customLong("without"), help: "A node that is not to be used; may be given several times.")
    var excludedNodes: [String] = []

    func validate() throws {
        if let objective, PlanObjective(rawValue: objective) == nil {
            throw ValidationError("--objective must be latency or throughput, not \(objective)")
        }
        if let wire, BoundaryFormat(rawValue: wire) == nil {
            throw ValidationError("--wire must be f32, f16 or q8, not \(wire)")
        }
        if let speculate, SpeculationMode(rawValue: speculate) == nil {
            throw ValidationError("--speculate must be off, auto, ngram or draft, not \(speculate)")
        }
        if let context, !(1...Limits.contextTokenCountMax).contains(context) {
            throw ValidationError("--context must be between 1 and \(Limits.contextTokenCountMax), not \(context)")
        }
        if let sequences, !(1...Limits.sequenceCountMax).contains(sequences) {
            throw ValidationError("--sequences must be between 1 and \(Limits.sequenceCountMax), not \(sequences)")
        }
    }

    /// What the node is asked for.
    func request() throws(ShoalError) -> LoadRequest {
        var request = LoadRequest(
            model: ModelArgument(model).resolved, layers: try assignments(),
            contextTokenCount: context, sequenceCountMax: sequences)
        request.engine = try rpc.kind()
        request.rpc = rpc.options
        request.objective = objective.flatMap(PlanObjective.init(rawValue:))
        request.wire = wire.flatMap(BoundaryFormat.init(rawValue:))
        request.speculation = speculate.flatMap(SpeculationMode.init(rawValue:))
        request.draft = draft.map { ModelArgument($0).resolved }
        request.excludedNodes = excludedNodes.isEmpty ? nil : excludedNodes
        return request
    }

    private func assignments() throws(ShoalError) -> [LoadRequest.Assignment] {
        guard let layers else { return [] }
        return try LoadRequest.assignments(parsing: layers)
    }
}
