package import ShoalCore
import Synchronization

/// Who this node is and whom it trusts: the one place that knows, kept on disk. Any thread.
///
/// Decisions are `ClusterState`'s; this type holds it, stores it, and tells what changed. Looking something up never
/// waits for the disk.
package final class ClusterTrust: Sendable {
    /// Told in order of happening, on whatever thread changed it, while nothing is locked; must not block.
    package typealias Observer = @Sendable (MembershipEvent) -> Void

    package let nodeKey: NodeKey
    package let nodeName: String
    /// Whether the cluster key alone lets a node in: it was given from outside, so that nodes can share it.
    package let sharesKey: Bool
    /// Every change of the member list. One consumer; events beyond 4096 unread ones replace the oldest.
    package let events: AsyncStream<MembershipEvent>

    private struct Shared {
        var state: ClusterState
        var observers: [Observer] = []
    }

    private static let eventCountMax = 4096
    private static let fileName = "cluster"
    private let continuation: AsyncStream<MembershipEvent>.Continuation
    private let file: SecretFile?
    private let shared: Mutex<Shared>
    /// Held while the file is written, so that a later state is not overwritten by an earlier one. True when the file
    /// lacks the last change.
    private let writing = Mutex(false)

    package var nodeID: NodeID { nodeKey.nodeID }

    /// Reads or makes what `directory`, which exists, holds. `clusterKey` is one from outside; nil for the cluster's
    /// own.
    ///
    /// A damaged file of members is moved aside and the node starts as a cluster of one: `notice` then is a sentence
    /// for the log. Throws `fileUnreadable`, and `invalidRequest` when the folder belongs to another cluster than
    /// `clusterKey`.
    package static func open(
        in directory: String, nodeName: String, clusterKey: ClusterKey? = nil, now: Int
    ) throws(ShoalError) -> (trust: ClusterTrust, notice: String?) {
        let key = try NodeKey.loadOrCreate(in: directory)
        let own = Member(nodeID: key.nodeID, name: nodeName, addedUnixSeconds: now)
        let file = SecretFile("\(directory)/\(fileName)")
        var notice: String?
        var state = ClusterState(key: clusterKey ?? .random(), own: own)
        var storedState: ClusterState?
        if let bytes = try file.read(byteCountMax: ClusterState.fileByteCountMax) {
            // A file that is too large is as damaged as one that cannot be decoded.
            let stored = bytes.count > ClusterState.fileByteCountMax ? nil : ClusterState(decoding: bytes)
            if let stored, stored.members.isMember(key.nodeID) {
                state = try adopted(stored, clusterKey, own)
                storedState = stored
            } else {
                let aside = try file.moveAside(suffix: stored == nil ? "damaged-\(now)" : "left-\(now)")
                notice =
                    (stored == nil ? "the cluster's state was damaged" : "this node was removed from its cluster")
                    + "; its old state is at \(aside), and it is a cluster of one until it joins another: shoal join"
            }
        }
        let trust = ClusterTrust(
            nodeKey: key, nodeName: nodeName, state: state, sharesKey: clusterKey != nil, file: file)
        // A node that has what it needs starts on a full disk, too.
        if state != storedState { try trust.store() }
        return (trust, notice)
    }

    /// A node that is kept in memory only: for tests. `sharesKey` is as if `clusterKey` came from outside.
    package static func inMemory(
        nodeName: String, clusterKey: ClusterKey = .random(), sharesKey: Bool = false
    ) throws(ShoalError) -> ClusterTrust {
        let key = try NodeKey.make()
        let own = Member(nodeID: key.nodeID, name: nodeName, addedUnixSeconds: 0)
        return ClusterTrust(
            nodeKey: key, nodeName: nodeName, state: ClusterState(key: clusterKey, own: own), sharesKey: sharesKey,
            file: nil)
    }

    private init(nodeKey: NodeKey, nodeName: String, state: ClusterState, sharesKey: Bool, file: SecretFile?) {
        self.nodeKey = nodeKey
        self.nodeName = nodeName
        self.sharesKey = sharesKey
        self.file = file
        shared = Mutex(Shared(state: state))
        (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(Self.eventCountMax))
    }

    private static func adopted(
        _ stored: ClusterState, _ clusterKey: ClusterKey?, _ own: Member
    ) throws(ShoalError) -> ClusterState {
        guard let clusterKey, clusterKey != stored.key else { return stored }
        do throws(ShoalError) {
            try stored.requireAlone(own.nodeID, joining: clusterKey.clusterID)
        } catch {
            throw error.during("--cluster-key")
        }
        return ClusterState(key: clusterKey, own: own)
    }

    // MARK: Looking up

    package var clusterID: String { shared.withLock { $0.state.key.clusterID } }
    package var members: [Member] { shared.withLock { $0.state.members.members } }
    /// What other members need to know, for gossip.
    package var records: [MemberRecord] { shared.withLock { $0.state.members.allRecords } }
    package func isMember(_ node: NodeID) -> Bool { shared.withLock { $0.state.members.isMember(node) } }
    package var invites: [Invite] { shared.withLock { $0.state.invites.all } }

    /// Whether a node that is no member could have something to say.
    package func admitsStrangers(now: Int) -> Bool {
        sharesKey || shared.withLock { $0.state.invites.hasInvites(now: now) }
    }

    /// `observer` hears every change from now on.
    package func observe(_ observer: @escaping Observer) { shared.withLock { $0.observers.append(observer) } }

    // MARK: Changing

    /// Enters records that a member passed on. Throws `fileUnreadable` when they cannot be stored; they count all the
    /// same.
    package func merge(_ records: [MemberRecord]) throws(ShoalError) {
        try change { state throws(ShoalError) in
            (state.merge(records.prefix(MemberList.recordCountMax)), ())
        }
    }

    /// Removes a member for good, on every node that hears of it. Throws `invalidRequest` for this node itself.
    package func forget(_ node: NodeID, now: Int) throws(ShoalError) {
        guard node != nodeID else {
            throw ShoalError(.invalidRequest, "a node cannot forget itself; run shoal forget on another node")
        }
        try change { state throws(ShoalError) in (state.forget(node, now: now), ()) }
    }

    /// A code for one new node, with the addresses where this one can be reached.
    package func invite(addresses: [String], lifetimeSeconds: Int, now: Int) throws(ShoalError) -> (Invite, InviteCode)
    {
        try change { state throws(ShoalError) in
            let invite = try state.issueInvite(lifetimeSeconds: lifetimeSeconds, now: now)
            let code = try InviteCode(
                clusterID: state.key.clusterID, issuer: nodeKey.nodeID, secret: invite.secret, addresses: addresses)
            return ([], (invite, code))
        }
    }

    package func revokeInvite(_ id: String) throws(ShoalError) {
        try change { state throws(ShoalError) in ([], try state.revokeInvite(id)) }
    }

    // MARK: Admission

    /// What this node says first to `peer` where the cluster key lets nodes in; nil elsewhere.
    package func request(to peer: NodeID) -> PendingAdmission? {
        guard sharesKey else { return nil }
        let key = shared.withLock { $0.state.key }
        return PendingAdmission(
            clusterKey: key, nodeName: nodeName, own: nodeID, peer: peer, nonce: AdmissionProof.makeNonce())
    }

    /// What this node says first to the issuer of `code`. Throws `invalidRequest` when it has other members to lose.
    package func request(with code: InviteCode) throws(ShoalError) -> PendingAdmission {
        guard code.issuer != nodeID else {
            throw ShoalError(.invalidRequest, "this invite was issued by this very node; use it on another one")
        }
        try shared.withLock { $0.state }.requireAlone(nodeID, joining: code.clusterID)
        return PendingAdmission(code: code, nodeName: nodeName, own: nodeID, nonce: AdmissionProof.makeNonce())
    }

    /// Decides about `peer`, whose key TLS has proved. Call it where waiting for the disk is allowed.
    package func judge(_ request: AdmissionRequest, from peer: NodeID, now: Int) -> AdmissionVerdict {
        let own = Member(nodeID: nodeID, name: nodeName, addedUnixSeconds: now)
        do throws(ShoalError) {
            return try change { state throws(ShoalError) in
                let (verdict, events) = state.judge(request, from: peer, own: own, sharesKey: sharesKey, now: now)
                return (events, verdict)
            }
        } catch {
            return .refuse(error)
        }
    }

    /// Takes what `peer` granted. Throws `notAMember` unless the grant answers `pending`.
    package func accept(
        _ grant: AdmissionGrant, for pending: PendingAdmission, from peer: NodeID, now: Int
    ) throws(ShoalError) {
        try pending.verify(grant)
        try change { state throws(ShoalError) in
            if let key = pending.clusterKey(in: grant) {
                return (try state.join(key: key, records: grant.records, own: nodeKey.nodeID), ())
            }
            return (try state.add(Member(nodeID: peer, name: grant.nodeName, addedUnixSeconds: now)), ())
        }
    }

    // MARK: Storing and telling

    private func change<Result: Sendable>(
        _ body: (inout ClusterState) throws(ShoalError) -> ([MembershipEvent], Result)
    ) throws(ShoalError) -> Result {
        let outcome = shared.withLock { shared -> Outcome<Result> in
            let before = shared.state
            do throws(ShoalError) {
                let (events, result) = try body(&shared.state)
                return .done(result, events, shared.observers, isChanged: shared.state != before)
            } catch {
                shared.state = before
                return .failed(error)
            }
        }
        switch outcome {
        case .failed(let error): throw error
        case .done(let result, let events, let observers, let isChanged):
            for event in events {
                for observer in observers { observer(event) }
                continuation.yield(event)
            }
            if isChanged { try store() }
            return result
        }
    }

    private enum Outcome<Result> {
        case done(Result, [MembershipEvent], [Observer], isChanged: Bool)
        case failed(ShoalError)
    }

    /// Stores what could not be stored when it changed, such as on a full disk. True if it was necessary. May wait for
    /// the disk. Throws `fileUnreadable` when it fails again.
    package func storeIfBehind() throws(ShoalError) -> Bool {
        guard writing.withLock({ $0 }) else { return false }
        try store()
        return true
    }

    private func store() throws(ShoalError) {
        guard let file else { return }
        let failure = writing.withLock { isBehind -> ShoalError? in
            do throws(ShoalError) {
                try file.write(try shared.withLock { $0.state }.encoded())
                isBehind = false
                return nil
            } catch {
                isBehind = true
                return error
            }
        }
        if let failure { throw failure }
    }
}
