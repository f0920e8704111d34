import NIOCore
import NIOPosix
import ShoalCore
import Synchronization

/// Two connected sockets in this process, for two ends of a tunnel that happen to be on one node.
enum LoopbackPair {
    /// Both have `autoRead` off.
    static func make(eventLoop: any EventLoop) async throws(ShoalError) -> (any Channel, any Channel) {
        let accepted = eventLoop.makePromise(of: (any Channel).self)
        let isTaken = Mutex(false)
        do {
            let listener = try await ServerBootstrap(group: eventLoop)
                .childChannelOption(.autoRead, value: false)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelInitializer { child in
                    let isFirst = isTaken.withLock { taken in
                        defer { taken = true }
                        return !taken
                    }
                    if isFirst { accepted.succeed(child) } else { child.close(promise: nil) }
                    return child.eventLoop.makeSucceededVoidFuture()
                }
                .bind(host: "127.0.0.1", port: 0).get()
            let port = listener.localAddress?.port ?? 0
            let ours = try await Splice.connect(
                host: "127.0.0.1", port: port, eventLoop: eventLoop, deadline: .seconds(3))
            let theirs = try await accepted.futureResult.get()
            listener.close(promise: nil)
            guard theirs.remoteAddress?.port == ours.localAddress?.port else {
                ours.close(promise: nil)
                theirs.close(promise: nil)
                throw ShoalError(.linkLost, "somebody else connected to a port of this node's own")
            }
            return (ours, theirs)
        } catch {
            accepted.fail(error)
            throw error as? ShoalError ?? ShoalError(.linkLost, "no pair of sockets: \(error)")
        }
    }
}
