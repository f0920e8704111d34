import ArgumentParser
import ShoalCore

/// `shoal links`.
struct LinksCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "links", abstract: "Show who reaches whom, at which address and how well.")

    @OptionGroup var client: ClientOptions

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let report: ReachReport = try await node.get("/shoal/v1/links")
            if json { return try Terminal.writeJSON(report) }
            guard !report.links.isEmpty else { return Terminal.note("no link has been measured yet") }
            TextTable.links(report.links).lines.forEach(Terminal.writeLine)
            pairLines(report.pairs).forEach(Terminal.writeLine)
        }
    }
}
