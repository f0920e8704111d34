import ArgumentParser
import ShoalCore

/// `shoal bench`.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure a model on one node against split over several, beside what was predicted.",
        discussion:
            "Loads the model several times: as the planner would place it, on the best single node, and on the best "
            + "several nodes, as far as these exist and fit; and stops it again each time.")

    @OptionGroup var client: ClientOptions

    @Argument(help: "A model's name, or the path of a GGUF file.")
    var model: String

    @Option(name: .long, help: "A placement to measure instead, such as a=0-14,b=15-29; may be given several times.")
    var layers: [String] = []

    @Option(name: .long, help: "Tokens of the prompt, about.")
    var prompt = 512

    @Option(name: .long, help: "Tokens of each answer.")
    var tokens = 48

    @Option(name: .long, help: "Answers at the same time.")
    var streams = 4

    @Option(name: .long, help: "What activations are between nodes: f32, f16 or q8 (default: f32).")
    var wire: String?

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func validate() throws {
        guard (1...65536).contains(prompt), (2...4096).contains(tokens), (1...64).contains(streams) else {
            throw ValidationError("--prompt must be 1 to 65536, --tokens 2 to 4096 and --streams 1 to 64")
        }
        if let wire, BoundaryFormat(rawValue: wire) == nil {
            throw ValidationError("--wire must be f32, f16 or q8, not \(wire)")
        }
    }

    func run() async throws {
        try await client.withClient { node in
            let base = baseRequest
            try await requireUnused(node, base)
            let benchmark = ModelBenchmark(
                client: node,
                workload: .init(promptTokenCount: prompt, outputTokenCount: tokens, streamCount: streams))
            var results: [ModelBenchmark.Result] = []
            for candidate in try await candidates(node, base) {
                let names = candidate.stages.map(\.nodeName).joined(separator: ", ")
                if !json { Terminal.note("measuring \(candidate.request.model) on \(names)") }
                results.append(
                    try await benchmark.measure(
                        candidate.request, stages: candidate.stages, predicted: candidate.prediction))
            }
            if json { return try Terminal.writeJSON(results) }
            TextTable.benchmark(results).lines.forEach(Terminal.writeLine)
        }
    }

    private struct Candidate {
        var request: LoadRequest
        var stages: [PlanReport.Stage]
        var prediction: PlanPrediction?
    }

    private var baseRequest: LoadRequest {
        var request = LoadRequest(
            model: ModelArgument(model).resolved, contextTokenCount: 2 * (prompt + tokens) + 256,
            sequenceCountMax: streams)
        request.wire = wire.flatMap(BoundaryFormat.init(rawValue:))
        request.promptTokenCount = prompt
        return request
    }

    /// Somebody may be using a model that is loaded.
    private func requireUnused(_ node: NodeClient, _ request: LoadRequest) async throws {
        let plan: PlanReport = try await node.post("/shoal/v1/plan", request)
        let instances: [InstanceReport] = try await node.get("/shoal/v1/instances")
        guard let other = instances.first(where: { $0.model == plan.model && $0.phase.isServing }) else { return }
        throw ShoalError(
            .unavailable, "\(other.model) is loaded as instance \(other.id); stop it first: shoal stop \(other.id)")
    }

    private func candidates(_ node: NodeClient, _ base: LoadRequest) async throws -> [Candidate] {
        guard layers.isEmpty else {
            var candidates: [Candidate] = []
            for text in layers {
                var request = base
                request.layers = try LoadRequest.assignments(parsing: text)
                let plan: PlanReport = try await node.post("/shoal/v1/plan", request)
                candidates.append(Candidate(request: request, stages: plan.stages, prediction: plan.prediction))
            }
            return candidates
        }
        let plan: PlanReport = try await node.post("/shoal/v1/plan", base)
        let all = [(plan.stages, plan.prediction)] + plan.alternatives.map { ($0.stages, Optional($0.prediction)) }
        // Best first, so the first of each kind is the best of it.
        let chosen = [all.first, all.first { $0.0.count == 1 }, all.first { $0.0.count > 1 }].compactMap { $0 }
        var candidates: [Candidate] = []
        for (stages, prediction) in chosen where !candidates.contains(where: { $0.stages == stages }) {
            var request = base
            request.layers = stages.map { LoadRequest.Assignment(nodeName: $0.nodeName, layers: $0.layers) }
            candidates.append(Candidate(request: request, stages: stages, prediction: prediction))
        }
        return candidates
    }
}
