import ArgumentParser
import ShoalCore

/// `shoal load`.
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Load a model, and return when it answers or has failed.")

    @OptionGroup var client: ClientOptions
    @OptionGroup(title: "Placement and speed") var placement: PlacementOptions
    @OptionGroup(title: "Engine, and options of llama-server") var rpc: RPCPlacementOptions

    @Argument(help: "A model's name, or the path of a GGUF file.")
    var model: String

    @Flag(name: .long, help: "Print the instance as JSON when it is ready.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            let loader = Loader(
                client: node, show: { if !json { Terminal.write($0) } },
                isInteractive: Terminal.outputIsInteractive && !json)
            let instance = try await loader.load(try placement.request(model, rpc))
            if json { return try Terminal.writeJSON(instance) }
            Terminal.writeLine("\(instance.model) is ready as instance \(instance.id), head \(instance.headName)")
        }
    }
}
