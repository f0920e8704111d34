package import NIOCore

/// The bounds of a tunnel.
package enum TunnelLimits {
    /// How far the stream may run ahead of the first piece that the worker has not answered; what both ends hold.
    package static let windowByteCount = 32 << 20
    /// Pieces that the worker has read ahead of what its rpc-server took.
    package static let lookAheadByteCount = 16 << 20
    /// Pieces that the worker reads side by side.
    package static let lookupCountMax = 4
    /// RPC bytes in one message.
    package static let messageByteCountMax = 1 << 20
    /// GGML_MAX_NAME is 64.
    package static let tensorNameByteCountMax = 256
    /// The sentence of a goodbye.
    package static let sentenceByteCountMax = 4 << 10
    /// Sessions of one llama-server with one worker at a time; it has one, and opens the next before the last is gone.
    package static let sessionCountMax = 16
    /// How long connecting to the rpc-server may take.
    package static let connectDeadline = TimeAmount.seconds(3)
    /// How long what is on its way may take when one side has closed.
    package static let closingDeadline = TimeAmount.seconds(5)
    /// How long a connection waits for llama-server's next session.
    package static let idlePeerDeadline = TimeAmount.seconds(3)
    /// How long a connection that was opened ahead waits for llama-server, which reads its model's vocabulary first.
    package static let warmPeerDeadline = TimeAmount.seconds(30)
    /// How old an answer about free memory may be that is not the rpc-server's own.
    package static let memoryAnswerAgeMax = Duration.seconds(10)
    /// Files that a library opens.
    package static let libraryFileCountMax = 512
}
