import ShoalCore
import Synchronization

/// The heads on this node, readable from the data loop. The `Node` actor alone adds and removes.
final class HeadTable: Sendable {
    private let heads = Mutex<[InstanceID: any InstanceHead]>([:])

    /// The head of an instance of the stages engine; those alone take requests as tokens.
    subscript(id: InstanceID) -> HeadService? { any(id) as? HeadService }

    /// The head of an instance of either engine.
    func any(_ id: InstanceID) -> (any InstanceHead)? { heads.withLock { $0[id] } }

    var all: [any InstanceHead] { heads.withLock { Array($0.values) } }

    func insert(_ head: any InstanceHead, for id: InstanceID) { heads.withLock { $0[id] = head } }

    func remove(_ id: InstanceID) { heads.withLock { _ = $0.removeValue(forKey: id) } }
}
