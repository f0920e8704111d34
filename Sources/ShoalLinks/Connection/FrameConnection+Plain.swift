package import NIOCore

extension FrameConnection {
    /// In a channel initializer: makes `channel`, which nobody encrypts or authenticates, a connection that waits for
    /// `start`. For measurements in tests; nodes dial with `LinkDialer` and accept with `LinkListener`. The channel
    /// must not read by itself (`autoRead` off).
    package static func attachingPlain(
        to channel: any Channel, configuration: LinkConfiguration = LinkConfiguration()
    ) throws -> FrameConnection {
        try attach(to: channel, configuration)
    }
}
