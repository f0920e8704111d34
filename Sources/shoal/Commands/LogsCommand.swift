import ArgumentParser
import ShoalCore

/// `shoal logs`.
struct LogsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs",
        abstract: "Show the last lines of a node's or an instance's engines, and how they were started.")

    @OptionGroup var client: ClientOptions

    @Argument(help: "A node's name, an instance's id, or a model's name.")
    var name: String

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let logs: [EngineLogReport] = try await node.get("/shoal/v1/logs/\(percentEncoded(name))")
            if json { return try Terminal.writeJSON(logs) }
            for log in logs { LogsCommand.lines(of: log).forEach(Terminal.writeLine) }
        }
    }

    /// A heading that a shell would skip, the command that starts the same thing, and the engine's lines.
    static func lines(of log: EngineLogReport) -> [String] {
        let state = log.processID.map { "process \($0)" } ?? "not running"
        let heading = "# \(log.model), instance \(log.instance), stage \(log.stageIndex) on \(log.nodeName), \(state)"
        return [heading] + (log.launch.map { [$0.shellCommand] } ?? []) + log.lines.map { "    \($0)" }
    }
}
