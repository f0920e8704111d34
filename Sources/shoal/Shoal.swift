import ArgumentParser
import ShoalCore

/// The command line.
@main
struct Shoal: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shoal",
        abstract: "Makes the devices you own answer as one LLM server.",
        version: ShoalVersion.current,
        subcommands: [
            ServeCommand.self, RunCommand.self, LoadCommand.self, PlanCommand.self, PsCommand.self, NodesCommand.self,
            StopCommand.self, LogsCommand.self, TraceCommand.self, BenchCommand.self, LinksCommand.self,
            DoctorCommand.self,
            InviteCommand.self,
            JoinCommand.self, ForgetCommand.self, VersionCommand.self,
        ])
}
