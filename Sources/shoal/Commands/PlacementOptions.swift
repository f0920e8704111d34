import ArgumentParser
import ShoalCore

/// Options that say how a model is loaded, and where.
struct PlacementOptions: ParsableArguments {
    @Option(name: .long, help: "Layers by node, for example a=0-14,b=15-29 (default: the planner decides).")
    var layers: String?

    @Option(name: .long, help: "Context of each request, in tokens (default: the model's own, at most 4096).")
    var context: Int?

    @Option(name: .long, help: "Requests that run side by side (default: 4).")
    var sequences: Int?

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
    func request(_ model: String, _ rpc: RPCPlacementOptions) throws(ShoalError) -> LoadRequest {
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
