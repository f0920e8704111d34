import ArgumentParser
import ShoalCore

/// Options of `shoal load` and `shoal plan` that choose the engine, and those for llama-server.
struct RPCPlacementOptions: ParsableArguments {
    @Option(name: .long, help: "stages or rpc (default: stages where it supports the family, else rpc).")
    var engine: String?

    @Option(name: .long, help: "The node that runs llama-server (default: this one, or the only one).")
    var head: String?

    @Option(name: .long, help: "The model's multimodal projector (rpc engine).")
    var mmproj: String?

    @Flag(name: .long, help: "Serve embeddings alone (rpc engine).")
    var embeddings = false

    @Flag(name: .long, help: "Serve reranking alone (rpc engine).")
    var reranking = false

    @Option(name: .long, help: "Tokens of a batch (rpc engine; default: 2048).")
    var batch: Int?

    @Option(name: .long, help: "Tokens that are computed at once (rpc engine; default: 512).")
    var ubatch: Int?

    @Flag(name: .long, help: "Let llama-server log everything, prompts included (rpc engine).")
    var verboseServer = false

    @Option(
        name: .customLong("server-argument"), parsing: .unconditionalSingleValue,
        help: "A further word of llama-server's command line; may be given several times.")
    var arguments: [String] = []

    func validate() throws {
        for (name, value) in [("--batch", batch), ("--ubatch", ubatch)] {
            if let value, !(1...Limits.contextTokenCountMax).contains(value) {
                throw ValidationError("\(name) must be between 1 and \(Limits.contextTokenCountMax), not \(value)")
            }
        }
    }

    func kind() throws(ShoalError) -> EngineKind? {
        guard let engine else { return nil }
        guard let kind = EngineKind(rawValue: engine) else {
            throw ShoalError(.invalidRequest, "--engine is \"\(engine)\"; it must be stages or rpc")
        }
        return kind
    }

    /// Nil when none was given.
    var options: RPCOptions? {
        var options = RPCOptions()
        options.headName = head
        options.multimodalProjectorPath = mmproj.map { ModelArgument($0).resolved }
        options.servesEmbeddings = embeddings
        options.servesReranking = reranking
        options.batchTokenCount = batch
        options.microBatchTokenCount = ubatch
        options.isVerbose = verboseServer
        options.arguments = arguments
        return options == RPCOptions() ? nil : options
    }
}
