import Logging
import NIOCore
import ShoalCore
import ShoalLinks
import Synchronization

/// The relays of this node: takes their halves, joins them, and forgets them when they end. Any thread.
final class RelayDesk: Sendable {
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let table = Mutex(RelayTable<FrameConnection>())

    init(eventLoop: any EventLoop, logger: Logger) {
        self.eventLoop = eventLoop
        self.logger = logger
    }

    /// Connections that are passed on now or soon.
    var count: Int { table.withLock(\.count) }

    /// See `RelayTable.open`.
    func open(
        _ token: LinkToken, between one: NodeID, and other: NodeID, within deadline: Duration
    ) throws(ShoalError) {
        let problem = table.withLock { table -> ShoalError? in
            do throws(ShoalError) {
                try table.open(token, between: one, and: other, until: Self.now + deadline)
                return nil
            } catch {
                return error
            }
        }
        if let problem { throw problem }
        eventLoop.scheduleTask(in: TimeAmount(deadline) + .milliseconds(1)) { [self] in expire() }
    }

    /// A half whose hello named `token`, paused.
    func join(_ connection: FrameConnection, from node: NodeID, token: LinkToken) {
        let joined = table.withLock { table -> Result<RelayTable<FrameConnection>.Joined, ShoalError> in
            do throws(ShoalError) {
                return .success(try table.join(token, from: node, end: connection, now: Self.now))
            } catch {
                return .failure(error)
            }
        }
        switch joined {
        case .success(.waits): break
        case .success(.complete(let other)):
            ByteSplice.join(other, connection) { [self] there, back in
                cancel(token)
                logger.debug("a relayed connection ended", metadata: ["bytes": "\(there) and \(back)"])
            }
        case .failure(let error): connection.close(because: error)
        }
    }

    func cancel(_ token: LinkToken) {
        for half in table.withLock({ $0.remove(token) }) {
            half.close(because: ShoalError(.cancelled, "the other node did not come"))
        }
    }

    /// Ends every relay.
    func close(because error: ShoalError) {
        for half in table.withLock({ $0.removeAll() }) { half.close(because: error) }
    }

    private func expire() {
        for half in table.withLock({ $0.expire(now: Self.now) }) {
            half.close(because: ShoalError(.timedOut, "the other node did not come"))
        }
    }

    private static var now: Duration { .nanoseconds(Int64(clamping: NIODeadline.now().uptimeNanoseconds)) }
}
