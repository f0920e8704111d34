import ArgumentParser
import ShoalCore

/// The command line.
@main
struct Shoal: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shoal",
        abstract: "Makes the devices you own answer as one LLM server.",
        version: ShoalVersion.current,
        subcommands: [ServeCommand.self, VersionCommand.self],
        groupedSubcommands: [
            CommandGroup(
                name: "Models",
                subcommands: [
                    RunCommand.self, LoadCommand.self, PlanCommand.self, PsCommand.self, StopCommand.self,
                ]),
            CommandGroup(
                name: "Cluster",
                subcommands: [
                    NodesCommand.self, InviteCommand.self, JoinCommand.self, ForgetCommand.self, LinksCommand.self,
                    DoctorCommand.self,
                ]),
            CommandGroup(
                name: "A closer look", subcommands: [LogsCommand.self, TraceCommand.self, BenchCommand.self]),
        ])
}
