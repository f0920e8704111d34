/// What `shoal load --engine rpc` may ask of llama-server beyond the plan.
package struct RPCOptions: Sendable, Codable, Hashable {
    /// `--mmproj`: the file that lets the model see images or hear.
    package var multimodalProjectorPath: String?
    package var servesEmbeddings = false
    package var servesReranking = false
    /// `-b` and `-ub`; nil means llama-server's own.
    package var batchTokenCount: Int?
    package var microBatchTokenCount: Int?
    /// Everything in the log, prompts included.
    package var isVerbose = false
    /// The head, where it cannot be told from the layers: by name.
    package var headName: String?
    /// Further words of the command line, after all others.
    package var arguments: [String] = []

    /// More is nobody's intention.
    package static let argumentCountMax = 64
    package static let argumentByteCountMax = 4096

    package init() {}
}
