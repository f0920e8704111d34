import ArgumentParser
import ShoalCore

/// `shoal doctor`.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Say what is wrong with the cluster and what to do about it.",
        discussion: "Ends with code 1 when a check fails; warnings do not count.")

    @OptionGroup var client: ClientOptions

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let report: DoctorReport = try await node.get("/shoal/v1/doctor")
            if json { try Terminal.writeJSON(report) } else { doctorLines(report).forEach(Terminal.writeLine) }
            guard !report.hasFailure else { throw ExitCode.failure }
        }
    }
}
