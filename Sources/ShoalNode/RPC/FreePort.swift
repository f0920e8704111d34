import NIOCore
import NIOPosix
import ShoalCore

/// Ports for programs that must be told one.
enum FreePort {
    /// A TCP port of 127.0.0.1 that nobody listens on. Another program may take it before it is used; whoever uses it
    /// tries again with another one.
    static func any(on eventLoop: any EventLoop) async throws(ShoalError) -> Int {
        do {
            let channel = try await ServerBootstrap(group: eventLoop).bind(host: "127.0.0.1", port: 0).get()
            let port = channel.localAddress?.port
            try await channel.close()
            guard let port else { throw ShoalError(.addressUnusable, "a bound socket has no port") }
            return port
        } catch {
            throw ShoalError(.addressUnusable, "no free port on this machine: \(error)")
        }
    }
}
