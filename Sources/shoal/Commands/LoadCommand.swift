import ArgumentParser
import ShoalCore

/// `shoal load`.
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Load a model, and return when it answers or has failed.")

    @OptionGroup var client: ClientOptions
    @OptionGroup var placement: PlacementOptions

    @Flag(name: .long, help: "Print the instance as JSON when it is ready.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let loader = Loader(
                client: node, show: { if !json { Terminal.write($0) } },
                isInteractive: Terminal.outputIsInteractive && !json)
            let instance = try await loader.load(try placement.request())
            if json { return try Terminal.writeJSON(instance) }
            Terminal.writeLine("\(instance.model) is ready as instance \(instance.id), head \(instance.headName)")
        }
    }
}
