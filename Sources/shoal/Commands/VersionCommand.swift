import ArgumentParser
import ShoalCore

/// `shoal version`.
struct VersionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        let version = ["version": ShoalVersion.current, "protocol": "\(ShoalVersion.protocolNumber)"]
        if json { return try Terminal.writeJSON(version) }
        Terminal.writeLine("shoal \(ShoalVersion.current), protocol \(ShoalVersion.protocolNumber)")
    }
}
