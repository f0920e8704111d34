internal import CShoalSystem
package import NIOCore
package import ShoalCore
package import ShoalLinks

/// Two ends of one local socket.
package enum ConnectionPair {
    /// Neither end is started. Both live on `eventLoop`; `second` may have its own loop.
    package static func make(
        eventLoop: any EventLoop, second: (any EventLoop)? = nil,
        configuration: LinkConfiguration = LinkConfiguration()
    ) async throws(ShoalError) -> (FrameConnection, FrameConnection) {
        var ends: [CInt] = [-1, -1]
        let result = shoal_socket_pair(&ends)
        guard result == 0 else { throw ShoalError(.internal, "no socket pair: errno \(-result)") }
        let left = try await FrameConnection.adopting(
            socket: ends[0], eventLoop: eventLoop, configuration: configuration)
        let right = try await FrameConnection.adopting(
            socket: ends[1], eventLoop: second ?? eventLoop, configuration: configuration)
        return (left, right)
    }
}
