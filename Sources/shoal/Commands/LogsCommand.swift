import ArgumentParser
import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

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

    @Flag(name: .long, help: "Show instead how the engines' commands and environments differ from this shell's.")
    var compare = false

    func run() async throws {
        try await client.withClient { node in
            let logs: [EngineLogReport] = try await node.get("/shoal/v1/logs/\(percentEncoded(name))")
            if json { return try Terminal.writeJSON(logs) }
            let shell = ProcessInfo.processInfo.environment
            if compare {
                for log in logs { LogsCommand.comparison(of: log, shell: shell).forEach(Terminal.writeLine) }
                return
            }
            for log in logs { LogsCommand.lines(of: log).forEach(Terminal.writeLine) }
        }
    }

    /// A heading that a shell would skip, the command that starts the same thing, and the engine's lines.
    static func lines(of log: EngineLogReport) -> [String] {
        [heading(of: log)] + (log.launch.map { [$0.shellCommand] } ?? []) + log.lines.map { "    \($0)" }
    }

    /// The same heading, the command, and one line per difference between the engine's environment and `shell`.
    static func comparison(of log: EngineLogReport, shell: [String: String]) -> [String] {
        guard let launch = log.launch else { return [heading(of: log)] }
        let comparison = EnvironmentComparison(engine: launch.environment, shell: shell)
        return [heading(of: log), launch.shellCommand] + comparison.lines.map { "    \($0)" }
    }

    private static func heading(of log: EngineLogReport) -> String {
        let state = log.processID.map { "process \($0)" } ?? "not running"
        let what = log.program ?? "stage \(log.stageIndex)"
        return "# \(log.model), instance \(log.instance), \(what) on \(log.nodeName), \(state)"
    }
}
