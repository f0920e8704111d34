/// The bounds of what is understood of an RPC stream. What exceeds one is passed through without being understood.
package enum RPCLimits {
    /// The major version of the protocol that is understood.
    package static let majorVersion: UInt8 = 7
    /// The body of one GRAPH_COMPUTE: 296 bytes per tensor, so more than 800,000 tensors.
    package static let graphByteCountMax: UInt64 = 256 << 20
    /// The body of one SET_TENSOR, or the answer to one GET_TENSOR: larger than any tensor.
    package static let tensorByteCountMax: UInt64 = 1 << 40
    /// GGML_RPC_MAX_SERVERS is 16; a server with more devices than this is not believed.
    package static let deviceCountMax: UInt32 = 64
    /// Questions whose answers are kept, of all sessions of a worker together.
    package static let keptAnswerCountMax = 1024
    /// Answers that were given before the rpc-server was asked; more are not guessed.
    package static let uncheckedGuessCountMax = 256
    /// Operations whose sizes are remembered; a graph has far fewer kinds, and beyond nothing is guessed.
    package static let knownOperationCountMax = 1024
    /// Replies that may be outstanding. llama-server waits for each one before it asks again.
    package static let pendingReplyCountMax = 1024
}
