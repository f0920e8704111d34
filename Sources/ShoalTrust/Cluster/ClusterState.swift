import Crypto
package import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Everything that a node knows about its cluster's trust, as a value; `now` is in seconds since 1970.
package struct ClusterState: Hashable, Sendable {
    package private(set) var key: ClusterKey
    package private(set) var members: MemberList
    package private(set) var invites: InviteBook

    /// A cluster of one.
    package init(key: ClusterKey, own: Member) {
        self.key = key
        members = MemberList()
        invites = InviteBook()
        // The list is empty and the record genuine: it cannot be refused.
        _ = members.merge([MemberRecord(own, version: 1, isForgotten: false, key: key)], key: key)
    }

    // MARK: Membership

    package mutating func merge(_ records: some Sequence<MemberRecord>) -> [MembershipEvent] {
        members.merge(records, key: key)
    }

    package mutating func add(_ member: Member) throws(ShoalError) -> [MembershipEvent] {
        try members.add(member, key: key)
    }

    package mutating func forget(_ node: NodeID, now: Int) -> [MembershipEvent] {
        members.forget(node, key: key, now: now)
    }

    // MARK: Invites

    package mutating func issueInvite(lifetimeSeconds: Int, now: Int) throws(ShoalError) -> Invite {
        try invites.issue(lifetimeSeconds: lifetimeSeconds, now: now)
    }

    package mutating func revokeInvite(_ id: String) throws(ShoalError) { try invites.revoke(id) }

    // MARK: Admission

    /// Decides about `peer`, whose key TLS has proved. `sharesKey` says whether the cluster key itself lets nodes in.
    package mutating func judge(
        _ request: AdmissionRequest, from peer: NodeID, own: Member, sharesKey: Bool, now: Int
    ) -> (verdict: AdmissionVerdict, events: [MembershipEvent]) {
        guard request.nodeName.utf8.count <= MemberRecord.nameByteCountMax else {
            return (.ignore(ShoalError(.protocolViolation, "node \(peer) has too long a name")), [])
        }
        guard let secret = secret(of: request.method, sharesKey: sharesKey) else {
            return (.ignore(ShoalError(.notAMember, "node \(peer) named an invite that is not known here")), [])
        }
        let proof = AdmissionProof(dialler: peer, listener: own.nodeID, nonce: request.nonce)
        guard proof.isValid(request.proof, by: .dialling, key: secret) else {
            return (.ignore(ShoalError(.notAMember, "node \(peer) has no valid proof that it may join")), [])
        }
        do throws(ShoalError) {
            let events = try admit(peer, request, now: now)
            var grant = AdmissionGrant(
                nodeName: own.name, proof: proof.made(by: .listening, key: secret), clusterKey: nil, records: [])
            if case .invite = request.method {
                grant.clusterKey = key.hexadecimal
                grant.records = members.allRecords
            }
            return (.grant(grant), events)
        } catch {
            return (.refuse(error), [])
        }
    }

    private func secret(of method: AdmissionRequest.Method, sharesKey: Bool) -> SymmetricKey? {
        switch method {
        case .clusterKey: sharesKey ? AdmissionProof.key(key) : nil
        case .invite(let id): invites.invite(id).map { AdmissionProof.key($0.secret) }
        }
    }

    private mutating func admit(
        _ peer: NodeID, _ request: AdmissionRequest, now: Int
    ) throws(ShoalError) -> [MembershipEvent] {
        guard !members.isForgotten(peer) else { throw MemberList.forgotten(peer) }
        if case .invite(let id) = request.method { try invites.redeem(id, by: peer, now: now) }
        return try add(Member(nodeID: peer, name: request.nodeName, addedUnixSeconds: now))
    }

    /// Enters another cluster after a granted request. A node of a cluster with other members must not lose them
    /// without being told to. Throws `invalidRequest`.
    package mutating func join(
        key newKey: ClusterKey, records: [MemberRecord], own: NodeID
    ) throws(ShoalError) -> [MembershipEvent] {
        try requireAlone(own, joining: newKey.clusterID)
        var joined = MemberList()
        let events = joined.merge(records, key: newKey)
        guard joined.isMember(own) else {
            throw ShoalError(.notAMember, "the cluster's member list does not name this node")
        }
        if newKey == key { return merge(records) }
        key = newKey
        members = joined
        invites = InviteBook()
        return events.filter { $0 != .memberRemoved(own) }
    }

    /// Throws `invalidRequest` when this node has other members to lose.
    package func requireAlone(_ own: NodeID, joining clusterID: String) throws(ShoalError) {
        let others = members.members.filter { $0.nodeID != own }
        guard key.clusterID != clusterID, let other = others.first else { return }
        throw ShoalError(
            .invalidRequest,
            "this node is a member of cluster \(key.clusterID) with \(other.name)"
                + (others.count > 1 ? " and \(others.count - 1) more" : "")
                + "; to leave it for good, stop the node, delete its data folder and join again")
    }
}

extension ClusterState {
    /// The file's size is bounded by the number of records; this is far above it.
    static let fileByteCountMax = 4 << 20
    private static let header = "shoal cluster v1 "

    private struct Contents: Codable {
        var key: String
        var records: [MemberRecord]
        var invites: InviteBook
    }

    /// The file: a line with an HMAC of the rest, then JSON.
    func encoded() throws(ShoalError) -> [UInt8] {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
            let body = try encoder.encode(
                Contents(key: key.hexadecimal, records: members.allRecords, invites: invites))
            return Array("\(Self.header)\(Self.mac(body, key))\n".utf8) + body
        } catch {
            throw ShoalError(.internal, "the cluster's state cannot be written: \(error)")
        }
    }

    /// Nil when a byte of it was changed, by whatever.
    init?(decoding bytes: [UInt8]) {
        guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        let body = Data(bytes[(end + 1)...])
        // What cannot be read is damaged, whatever the decoder says.
        guard let contents = try? JSONDecoder().decode(Contents.self, from: body),
            let key = ClusterKey(hexadecimal: contents.key),
            String(decoding: bytes[..<end], as: UTF8.self) == "\(Self.header)\(Self.mac(body, key))"
        else { return nil }
        self.key = key
        invites = contents.invites
        members = MemberList()
        _ = members.merge(contents.records, key: key)
    }

    private static func mac(_ body: Data, _ key: ClusterKey) -> String {
        Hexadecimal.text(HMAC<SHA256>.authenticationCode(for: body, using: key.subkey("state file")))
    }
}
