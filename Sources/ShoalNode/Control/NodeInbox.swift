import ShoalCore
import ShoalLinks
import Synchronization

/// What waits for the node's attention, in order. Posted from any thread, taken by the node alone.
///
/// News that are repeated anyway are dropped when too much waits; what happens once (a link that came or went, an
/// engine that died) is kept, and bounded by the number of links and engines. Peers' one-time news count as too much,
/// too: then
/// `post` says no, and the link is closed.
final class NodeInbox: Sendable {
    static let eventCountMax = 4096

    let events: AsyncStream<NodeEvent>
    private let continuation: AsyncStream<NodeEvent>.Continuation
    private let waitingCount = Mutex(0)

    init() { (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .unbounded) }

    /// False when the event was not taken: too much waits, or the node has ended.
    @discardableResult
    func post(_ event: NodeEvent) -> Bool {
        let hasRoom = waitingCount.withLock { count in
            guard count < Self.eventCountMax || event.mustArrive else { return false }
            count += 1
            return true
        }
        guard hasRoom, case .enqueued = continuation.yield(event) else { return false }
        return true
    }

    /// The node took one event.
    func taken() { waitingCount.withLock { $0 -= 1 } }
}

extension NodeEvent {
    /// Whether it happens once, on this node.
    fileprivate var mustArrive: Bool {
        switch self {
        case .linkAccepted, .linkClosed, .headEnded, .requestEnded, .orphanCheck, .memberChanged, .nodeReturned: true
        case .stageNotice(let notice, _, _): if case .progress = notice { false } else { true }
        case .control, .headChanged: false
        }
    }
}
