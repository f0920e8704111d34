import ShoalCore
import Synchronization

/// The heads on this node, readable from the data loop. The `Node` actor alone adds and removes.
final class HeadTable: Sendable {
    private let heads = Mutex<[InstanceID: HeadService]>([:])

    subscript(id: InstanceID) -> HeadService? { heads.withLock { $0[id] } }

    var all: [HeadService] { heads.withLock { Array($0.values) } }

    func insert(_ head: HeadService, for id: InstanceID) { heads.withLock { $0[id] = head } }

    func remove(_ id: InstanceID) { heads.withLock { _ = $0.removeValue(forKey: id) } }
}
