import ArgumentParser
import ShoalCore

/// `shoal plan`.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show where a model would be placed, how fast, and why, without loading it.")

    @OptionGroup var client: ClientOptions
    @OptionGroup(title: "Placement and speed") var placement: PlacementOptions
    @OptionGroup(title: "Engine, and options of llama-server") var rpc: RPCPlacementOptions

    @Argument(help: "A model's name, or the path of a GGUF file.")
    var model: String

    @Option(
        name: .customLong("with"),
        help: "NAME=MEMORY: plan as if there were such a node too, for example big=78GB; may be given several times.")
    var imaginedNodes: [String] = []

    @Option(name: .long, help: "Tokens of the prompt that the time to the first token is predicted for (default: 512).")
    var prompt: Int?

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let plan: PlanReport = try await node.post("/shoal/v1/plan", try request())
            if json { return try Terminal.writeJSON(plan) }
            planLines(plan).forEach(Terminal.writeLine)
        }
    }

    /// What the node is asked for.
    func request() throws(ShoalError) -> LoadRequest {
        var request = try placement.request(model, rpc)
        var imagined: [LoadRequest.ImaginedNode] = []
        for text in imaginedNodes { imagined.append(try LoadRequest.ImaginedNode(parsing: text)) }
        request.imaginedNodes = imagined.isEmpty ? nil : imagined
        request.promptTokenCount = prompt
        return request
    }
}
