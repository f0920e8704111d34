import ArgumentParser
import ShoalCore

/// `shoal run`.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Ask a model, or chat with it; it is loaded if nothing serves it yet.",
        discussion: "Without a PROMPT it chats: /clear forgets the conversation, /bye or Ctrl-D leaves.")

    @OptionGroup var client: ClientOptions

    @Argument(help: "A model's name, or the path of a GGUF file.")
    var model: String

    @Argument(help: "What to ask; standard input is read when it is not a terminal.")
    var prompt: [String] = []

    @Option(
        name: .long,
        help: """
            0 always takes the likeliest token; 1 is the model's own distribution (default: 0.8 without unlikely \
            tokens, as llama.cpp does).
            """)
    var temperature: Double?

    @Option(name: .long, help: "Same seed, same prompt: same answer.")
    var seed: Int?

    @Option(name: .long, help: "The longest answer, in tokens.")
    var maxTokens: Int?

    @Option(name: .long, help: "What the model is told before the conversation.")
    var system: String?

    @Flag(name: .long, help: "Print tokens per second after each answer.")
    var verbose = false

    @Flag(name: .long, help: "Show after each answer where the time of its tokens went.")
    var trace = false

    func run() async throws {
        try await client.withClient { node in
            let served = try await servedName(node)
            let conversation = Conversation(
                client: node,
                template: ChatRequestBody(
                    model: served, messages: system.map { [ChatMessage(role: "system", content: $0)] } ?? [],
                    sampling: .init(chosen: temperature), seed: seed, maxTokens: maxTokens),
                showsTimings: verbose, showsTrace: trace)
            if !prompt.isEmpty {
                try await conversation.ask(prompt.joined(separator: " "))
            } else if !Terminal.inputIsInteractive {
                try await conversation.ask(try await Terminal.readAll())
            } else {
                try await conversation.chat()
            }
        }
    }

    /// The name under which the model answers, after loading it if need be.
    private func servedName(_ node: NodeClient) async throws -> String {
        let argument = ModelArgument(model)
        let instances: [InstanceReport] = try await node.get("/shoal/v1/instances")
        let serving = instances.filter { $0.phase.isServing }.map(\.model)
        if let name = argument.servedNames.first(where: serving.contains) { return name }
        // Progress is not part of the answer that a pipe gets.
        let loader = Loader(client: node, show: Terminal.writeNote, isInteractive: Terminal.outputIsInteractive)
        return try await loader.load(LoadRequest(model: argument.resolved)).model
    }
}
