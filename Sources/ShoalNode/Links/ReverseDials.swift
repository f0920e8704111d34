import NIOCore
import ShoalCore
import ShoalLinks
import Synchronization

/// Connections that this node asked others to dial. Any thread.
final class ReverseDials: Sendable {
    typealias Pending = PendingReply<FrameConnection>

    private let eventLoop: any EventLoop
    private let awaited = Mutex(AwaitedLinks<Pending>())

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    var count: Int { awaited.withLock(\.count) }

    /// A token for `node`, and where its connection comes out; a connection that nobody takes is closed. Throws
    /// `overloaded`.
    func expect(from node: NodeID, within deadline: Duration) throws(ShoalError) -> (LinkToken, Pending) {
        let token = LinkToken.random()
        let pending = Pending()
        let result = awaited.withLock { awaited -> ShoalError? in
            do throws(ShoalError) {
                try awaited.expect(token, from: node, until: Self.now + deadline, waiter: pending)
                return nil
            } catch {
                return error
            }
        }
        if let result { throw result }
        eventLoop.scheduleTask(in: TimeAmount(deadline) + .milliseconds(1)) { [self] in expire() }
        return (token, pending)
    }

    func forget(_ token: LinkToken) { awaited.withLock { $0.forget(token) } }

    /// Hands over a connection whose hello named `token`.
    func arrived(_ connection: FrameConnection, from node: NodeID, token: LinkToken) {
        let found = awaited.withLock { awaited -> Result<Pending, ShoalError> in
            do throws(ShoalError) {
                return .success(try awaited.take(token, presentedBy: node, now: Self.now))
            } catch {
                return .failure(error)
            }
        }
        switch found {
        case .success(let pending):
            if !pending.resolve(.success(connection)) { connection.close(because: nil) }
        case .failure(let error): connection.close(because: error)
        }
    }

    private func expire() {
        let late = awaited.withLock { $0.expire(now: Self.now) }
        for pending in late {
            pending.resolve(.failure(ShoalError(.timedOut, "the node that was asked to dial did not come")))
        }
    }

    private static var now: Duration { .nanoseconds(Int64(clamping: NIODeadline.now().uptimeNanoseconds)) }
}
