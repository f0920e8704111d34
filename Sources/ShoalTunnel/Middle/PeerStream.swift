package import NIOCore
package import ShoalCore
package import ShoalLinks

/// A connected byte stream to the other end of a tunnel, not yet read.
package struct PeerStream: Sendable {
    package let channel: any Channel
    /// What came already.
    package let firstBytes: ByteBuffer

    /// `channel` is active and has `autoRead` off, and nobody else reads from it or closes it.
    package init(channel: any Channel, firstBytes: ByteBuffer = ByteBuffer()) {
        self.channel = channel
        self.firstBytes = firstBytes
    }

    /// Takes a link over after its hellos; frames end there. Throws `linkLost` when it is closed.
    package init(_ connection: FrameConnection) async throws(ShoalError) {
        (channel, firstBytes) = try await connection.takeOver()
    }
}
