import ArgumentParser
import ShoalCore

/// `shoal join`.
struct JoinCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Make this machine's node a member of another cluster.",
        discussion: "The node must run: shoal serve. Or join when it starts: shoal serve --join CODE.")

    @OptionGroup var client: ClientOptions

    @Argument(help: "What shoal invite printed on a member.")
    var code: [String]

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let report: JoinReport = try await node.post("/shoal/v1/join", ["code": code.joined()])
            if json { return try Terminal.writeJSON(report) }
            let others = report.members.filter { !$0.isThis }.map(\.name).joined(separator: ", ")
            Terminal.writeLine("joined cluster \(report.clusterID) with \(others)")
        }
    }
}
