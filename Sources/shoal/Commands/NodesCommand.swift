import ArgumentParser
import ShoalCore

/// `shoal nodes`.
struct NodesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "nodes", abstract: "List the nodes of the cluster.")

    @OptionGroup var client: ClientOptions

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let nodes: [NodeReport] = try await node.get("/shoal/v1/nodes")
            if json { return try Terminal.writeJSON(nodes) }
            TextTable.nodes(nodes).lines.forEach(Terminal.writeLine)
            Terminal.writeLine(leaderLine(nodes))
        }
    }
}
