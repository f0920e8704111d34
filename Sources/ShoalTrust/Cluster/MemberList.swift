package import ShoalCore

/// Something changed about who belongs to the cluster.
package enum MembershipEvent: Hashable, Sendable {
    case memberAdded(Member)
    case memberRemoved(NodeID)
}

/// Who belongs to the cluster, as a value that converges by gossip: merging the same records in any order, any number
/// of times, gives the same list. A tombstone beats everything.
package struct MemberList: Hashable, Sendable {
    /// Members and tombstones together; tombstones are kept for good.
    package static let recordCountMax = Limits.peerCountMax * 4

    private var records: [NodeID: MemberRecord] = [:]

    package init() {}

    /// Sorted by the time of admission.
    package var members: [Member] {
        records.values.filter { !$0.isForgotten }.map(\.member)
            .sorted { ($0.addedUnixSeconds, $0.nodeID) < ($1.addedUnixSeconds, $1.nodeID) }
    }

    /// Everything that other members need to know, tombstones included; sorted.
    package var allRecords: [MemberRecord] { records.values.sorted { $0.member.nodeID < $1.member.nodeID } }

    package func isMember(_ node: NodeID) -> Bool { records[node].map { !$0.isForgotten } ?? false }

    package func isForgotten(_ node: NodeID) -> Bool { records[node]?.isForgotten ?? false }

    /// Enters what somebody with the cluster key says; what is not genuine or not newer changes nothing.
    package mutating func merge(_ incoming: some Sequence<MemberRecord>, key: ClusterKey) -> [MembershipEvent] {
        var events: [MembershipEvent] = []
        for record in incoming where record.isGenuine(key) {
            let node = record.member.nodeID
            guard Self.replaces(record, records[node]),
                records[node] != nil || records.count < Self.recordCountMax
            else { continue }
            let was = isMember(node)
            records[node] = record
            if was, record.isForgotten { events.append(.memberRemoved(node)) }
            if !was, !record.isForgotten { events.append(.memberAdded(record.member)) }
        }
        return events
    }

    /// Makes `member` one. Throws `notAMember` for a forgotten node and `overloaded` for a full list.
    package mutating func add(_ member: Member, key: ClusterKey) throws(ShoalError) -> [MembershipEvent] {
        guard !isForgotten(member.nodeID) else { throw Self.forgotten(member.nodeID) }
        guard !isMember(member.nodeID) else { return [] }
        guard members.count < Limits.peerCountMax, records.count < Self.recordCountMax else {
            throw ShoalError(.overloaded, "the cluster has \(Limits.peerCountMax) members, which is the limit")
        }
        return merge([MemberRecord(member, version: 1, isForgotten: false, key: key)], key: key)
    }

    /// Removes a node for good. A node that is none leaves a tombstone too: it may be known elsewhere.
    package mutating func forget(_ node: NodeID, key: ClusterKey, now: Int) -> [MembershipEvent] {
        let old = records[node]
        let member = old?.member ?? Member(nodeID: node, name: "", addedUnixSeconds: now)
        let version = (old?.version ?? 0).addingReportingOverflow(1).partialValue
        return merge([MemberRecord(member, version: version, isForgotten: true, key: key)], key: key)
    }

    /// Why a link with a former member closes.
    package static func removed(_ node: NodeID) -> ShoalError {
        ShoalError(.notAMember, "node \(node) was removed from the cluster: shoal forget")
    }

    static func forgotten(_ node: NodeID) -> ShoalError {
        ShoalError(
            .notAMember,
            "node \(node) was removed from this cluster for good; to come back as a new node, delete its data folder")
    }

    private static func replaces(_ new: MemberRecord, _ old: MemberRecord?) -> Bool {
        guard let old else { return true }
        if new.isForgotten != old.isForgotten { return new.isForgotten }
        // The last two only break ties, the same way everywhere.
        return (new.version, new.member.addedUnixSeconds, new.member.name)
            > (old.version, old.member.addedUnixSeconds, old.member.name)
    }
}
