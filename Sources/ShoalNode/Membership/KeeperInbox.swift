import ShoalCore
import ShoalLinks
import ShoalMembership
import Synchronization

/// What reaches the keeper of the cluster's state, in order.
enum KeeperEvent: Sendable {
    case message(ClusterMessage, from: NodeID)
    case linked(ControlLink)
    case unlinked(ControlLink)
    /// The instances whose head is this node.
    case heads([ObservedInstance])
    /// Those of another node, for the leader.
    case report(HeadReport, from: NodeID)
    case news(DesiredNews, from: NodeID)
    /// Not a member of the cluster any more.
    case forgotten(NodeID)
    /// What nodes could take has changed.
    case resourcesChanged

    /// Whether it happens once; the others come again, as after a loss on the network.
    fileprivate var mustArrive: Bool {
        switch self {
        case .linked, .unlinked, .heads, .forgotten: true
        case .message, .report, .news, .resourcesChanged: false
        }
    }
}

/// The keeper's own queue, which nothing else can fill or hold up: a ping that waits behind a slow disk would look like
/// a dead node. Posted from any thread.
final class KeeperInbox: Sendable {
    static let eventCountMax = 8192

    let events: AsyncStream<KeeperEvent>
    private let continuation: AsyncStream<KeeperEvent>.Continuation
    private let waitingCount = Mutex(0)

    init() { (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .unbounded) }

    func post(_ event: KeeperEvent) {
        let hasRoom = waitingCount.withLock { count in
            guard count < Self.eventCountMax || event.mustArrive else { return false }
            count += 1
            return true
        }
        if hasRoom { continuation.yield(event) }
    }

    /// The keeper took one event.
    func taken() { waitingCount.withLock { $0 -= 1 } }
}
