internal import NIOCore
package import ShoalCore

/// The two ends of a link through a third node, which passes on what it cannot read: TLS with both keys, admission and
/// hellos happen inside, between the ends.
package enum RelayedLink {
    /// The end that asked for the link. `outer` is a connection to the relay that was opened for this; it is used up,
    /// also when this throws. As `LinkDialer.dial` otherwise.
    package static func dial(
        through outer: FrameConnection, relay: String, security: LinkSecurity, hello: LinkHello, expected: NodeID,
        deadline: Duration, configuration: LinkConfiguration = LinkConfiguration()
    ) async throws(ShoalError) -> (FrameConnection, LinkHello) {
        let result = await withCheckedContinuation { continuation in
            outer.eventLoop.execute {
                begin(.dial, outer, relay, security, .dialling(expected: expected), { hello }, deadline, configuration)
                {
                    continuation.resume(returning: $0)
                }
            }
        }
        let (connection, theirs) = try result.get()
        guard !Task.isCancelled else {
            connection.close(because: nil)
            throw ShoalError(.cancelled, "a link through \(relay) was cancelled")
        }
        return (connection, theirs)
    }

    /// The end that was asked. Waits for `expected` to begin, and hands the link to `onLink`, on its event loop.
    package static func accept(
        through outer: FrameConnection, relay: String, security: LinkSecurity,
        hello: @escaping @Sendable () -> LinkHello, expected: NodeID, deadline: Duration,
        configuration: LinkConfiguration = LinkConfiguration(), onLink: @escaping LinkListener.OnLink
    ) {
        outer.eventLoop.execute {
            begin(.listen, outer, relay, security, .listening, hello, deadline, configuration) { result in
                switch result {
                case .success((let connection, let theirs)) where theirs.nodeID == expected:
                    onLink(connection, theirs)
                case .success((let connection, let theirs)):
                    connection.close(
                        because: ShoalError(.notAMember, "node \(theirs.nodeID) came where \(expected) was expected"))
                case .failure(let error):
                    security.logRefusal(host: "through \(relay)", error)
                }
            }
        }
    }

    private static func begin(
        _ goal: LinkOpening.Goal, _ outer: FrameConnection, _ relay: String, _ security: LinkSecurity,
        _ role: LinkSecurity.Role, _ hello: @escaping @Sendable () -> LinkHello, _ deadline: Duration,
        _ configuration: LinkConfiguration,
        then next: @escaping @Sendable (Result<(FrameConnection, LinkHello), ShoalError>) -> Void
    ) {
        let inner: FrameConnection
        do {
            inner = try outer.carrying(role, security, configuration, relay: relay)
        } catch {
            outer.close(because: nil)
            let error = (error as? ShoalError) ?? ShoalError(.linkLost, "no link through \(relay): \(error)")
            return next(.failure(error))
        }
        HelloExchange.begin(goal, on: inner, security: security, hello: hello, deadline: deadline) { outcome in
            switch outcome {
            case .success(.link(let theirs)): next(.success((inner, theirs)))
            case .success(.joined): next(.failure(ShoalError(.internal, "a relayed link opened without a hello")))
            case .failure(let error): next(.failure(error.during("no link through \(relay)")))
            }
        }
    }
}
