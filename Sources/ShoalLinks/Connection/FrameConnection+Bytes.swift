package import NIOCore
package import ShoalCore

extension FrameConnection {
    /// Ends the frames, after the hellos: from now on the channel carries other bytes, behind the same TLS. Returns the
    /// channel, with `autoRead` off, and what came already. Closing the connection still closes the channel.
    ///
    /// Throws `linkLost` when it is closed.
    package func takeOver() async throws(ShoalError) -> (channel: any Channel, firstBytes: ByteBuffer) {
        let lost = ShoalError(.linkLost, "the connection to \(peerDescription) was closed before it could be used")
        do {
            let unread = try await eventLoop.submit { [self] in handler.value.takeOver() }.get()
            guard let unread else { throw lost }
            return (channel, unread)
        } catch {
            throw lost
        }
    }
}
