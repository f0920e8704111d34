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
                name: "Model",
                subcommands: [
                    RunCommand.self, LoadCommand.self, PlanCommand.self, PsCommand.self, StopCommand.self,
                ]),
            CommandGroup(
                name: "Cluster",
                subcommands: [NodesCommand.self, InviteCommand.self, JoinCommand.self, ForgetCommand.self]),
            CommandGroup(
                name: "Diagnostic",
                subcommands: [
                    DoctorCommand.self, LinksCommand.self, LogsCommand.self, TraceCommand.self, BenchCommand.self,
                ]),
        ])
}
