import ArgumentParser
import ShoalCore

/// `shoal ps`.
struct PsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ps", abstract: "List the models that are loaded, and which node runs which layers.")

    @OptionGroup var client: ClientOptions

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let instances: [InstanceReport] = try await node.get("/shoal/v1/instances")
            if json { return try Terminal.writeJSON(instances) }
            TextTable.instances(instances).lines.forEach(Terminal.writeLine)
            draftLines(instances).forEach(Terminal.writeLine)
            problemLines(instances).forEach(Terminal.writeLine)
        }
    }
}
