import ArgumentParser
import ShoalCore

/// `shoal plan`.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show where a model would be placed, and why, without loading it.")

    @OptionGroup var client: ClientOptions
    @OptionGroup var placement: PlacementOptions

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let plan: PlanReport = try await node.post("/shoal/v1/plan", try placement.request())
            if json { return try Terminal.writeJSON(plan) }
            Terminal.writeLine("\(plan.model): \(plan.family), \(plan.layerCount) layers")
            TextTable.plan(plan).lines.forEach(Terminal.writeLine)
            if plan.stages.count > 1 {
                Terminal.writeLine("each token sends \(plan.boundaryBytesPerToken.rawValue) bytes over each boundary")
            }
            plan.reasons.forEach(Terminal.writeLine)
        }
    }
}
