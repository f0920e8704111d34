import ShoalCore
import Testing

@testable import ShoalTrust

@Suite("The member list")
struct MemberListTests {
    private let key = ClusterKey.random()

    private func record(
        _ node: NodeID = .random(), _ name: String = "n", version: UInt64 = 1, isForgotten: Bool = false,
        key: ClusterKey? = nil
    ) -> MemberRecord {
        MemberRecord(
            Member(nodeID: node, name: name, addedUnixSeconds: 5), version: version, isForgotten: isForgotten,
            key: key ?? self.key)
    }

    @Test("records of another key change nothing")
    func foreign() {
        var list = MemberList()
        let events = list.merge([record(key: .random())], key: key)
        #expect(events.isEmpty)
        #expect(list.members.isEmpty)
    }

    @Test("a tombstone beats every version of its node, whenever it comes")
    func tombstone() throws {
        let node = NodeID.random()
        var list = MemberList()
        var events: [MembershipEvent]
        events = list.merge([record(node)], key: key)
        #expect(events.count == 1)
        events = list.forget(node, key: key, now: 9)
        #expect(events == [.memberRemoved(node)])
        events = list.merge([record(node, version: 99)], key: key)
        #expect(events.isEmpty)
        #expect(!list.isMember(node))
        events = list.forget(node, key: key, now: 10)
        #expect(events.isEmpty)
        let error = #expect(throws: ShoalError.self) {
            try list.add(Member(nodeID: node, name: "n", addedUnixSeconds: 11), key: key)
        }
        #expect(error?.message.contains("removed from this cluster for good") == true)
    }

    @Test("a node that was never seen can be forgotten in advance")
    func unknown() {
        var list = MemberList()
        let node = NodeID.random()
        var events: [MembershipEvent]
        events = list.forget(node, key: key, now: 9)
        #expect(events.isEmpty)
        events = list.merge([record(node)], key: key)
        #expect(events.isEmpty)
    }

    @Test("the same records in any order give the same list")
    func converges() {
        let nodes = (0..<5).map { _ in NodeID.random() }
        let records = nodes.flatMap { node in
            [record(node), record(node, "renamed", version: 2), record(node, "tie", version: 2)]
                + (node == nodes[0] ? [record(node, isForgotten: true)] : [])
        }
        var expected = MemberList()
        _ = expected.merge(records, key: key)
        for _ in 0..<100 {
            let order = records.shuffled() + records.shuffled()
            var list = MemberList()
            for record in order { _ = list.merge([record], key: key) }
            #expect(list == expected, "\(order)")
        }
        #expect(expected.members.map(\.name) == ["tie", "tie", "tie", "tie"])
    }

    @Test("the list is bounded")
    func bounded() {
        var list = MemberList()
        _ = list.merge((0..<MemberList.recordCountMax + 5).map { _ in record() }, key: key)
        #expect(list.allRecords.count == MemberList.recordCountMax)
    }

    @Test("a name that is too long makes a record worthless")
    func longName() {
        #expect(!record(.random(), String(repeating: "x", count: 257)).isGenuine(key))
    }
}
