import ShoalCore
import Testing

@testable import ShoalTrust

@Suite("Admission")
struct AdmissionTests {
    private let now = 1_000_000

    private struct Pair {
        let issuer: ClusterTrust
        let joiner: ClusterTrust
    }

    private func pair() throws -> Pair {
        try Pair(issuer: .inMemory(nodeName: "issuer"), joiner: .inMemory(nodeName: "joiner"))
    }

    private func code(of trust: ClusterTrust, lifetimeSeconds: Int = 60) throws -> (Invite, InviteCode) {
        try trust.invite(addresses: ["127.0.0.1:1"], lifetimeSeconds: lifetimeSeconds, now: now)
    }

    private func grant(_ verdict: AdmissionVerdict) throws -> AdmissionGrant {
        guard case .grant(let grant) = verdict else { throw ShoalError(.internal, "not granted: \(verdict)") }
        return grant
    }

    private func refusal(_ verdict: AdmissionVerdict) -> String {
        guard case .refuse(let error) = verdict else { return "not refused: \(verdict)" }
        return error.message
    }

    private func isIgnored(_ verdict: AdmissionVerdict) -> Bool {
        guard case .ignore = verdict else { return false }
        return true
    }

    @Test("an invited node becomes a member and gets the key and the list")
    func invited() throws {
        let pair = try pair()
        let (_, code) = try code(of: pair.issuer)
        let pending = try pair.joiner.request(with: code)
        let grant = try grant(pair.issuer.judge(pending.request, from: pair.joiner.nodeID, now: now))
        try pair.joiner.accept(grant, for: pending, from: pair.issuer.nodeID, now: now)
        #expect(pair.joiner.clusterID == pair.issuer.clusterID)
        #expect(pair.joiner.members == pair.issuer.members)
        #expect(Set(pair.joiner.members.map(\.name)) == ["issuer", "joiner"])
    }

    @Test("expired, used and revoked codes are refused, each with its sentence, to who has the code")
    func dead() throws {
        let pair = try pair()
        let other = try ClusterTrust.inMemory(nodeName: "other")
        let (_, expired) = try code(of: pair.issuer)
        let (_, used) = try code(of: pair.issuer)
        let (invite, revoked) = try code(of: pair.issuer)
        try pair.issuer.revokeInvite(invite.id)
        _ = pair.issuer.judge(try other.request(with: used).request, from: other.nodeID, now: now)
        let judge = { (code: InviteCode, time: Int) throws in
            pair.issuer.judge(try pair.joiner.request(with: code).request, from: pair.joiner.nodeID, now: time)
        }
        #expect(refusal(try judge(expired, now + 90)).contains("expired 30 seconds ago"))
        #expect(refusal(try judge(used, now)).contains("used already, by another node"))
        #expect(refusal(try judge(revoked, now)).contains("was revoked"))
        #expect(!pair.issuer.isMember(pair.joiner.nodeID))
    }

    @Test("a request of somebody else, for somebody else, or changed in any field is ignored")
    func tampered() throws {
        let pair = try pair()
        let (_, code) = try code(of: pair.issuer)
        let good = try pair.joiner.request(with: code).request
        #expect(isIgnored(pair.issuer.judge(good, from: .random(), now: now)))
        let elsewhere = try ClusterTrust.inMemory(nodeName: "elsewhere")
        #expect(isIgnored(elsewhere.judge(good, from: pair.joiner.nodeID, now: now)))
        var changed = [good, good, good, good]
        changed[0].nonce = String(repeating: "00", count: 32)
        changed[1].proof = String(good.proof.reversed())
        changed[2].method = .invite(id: "0011223344556677")
        changed[3].method = .clusterKey
        for request in changed {
            #expect(isIgnored(pair.issuer.judge(request, from: pair.joiner.nodeID, now: now)), "\(request)")
        }
        #expect(!pair.issuer.isMember(pair.joiner.nodeID))
    }

    @Test("a listener without the secret, or that sends the proof back, is not believed")
    func falseListener() throws {
        let pair = try pair()
        let (_, code) = try code(of: pair.issuer)
        let pending = try pair.joiner.request(with: code)
        var grant = try grant(pair.issuer.judge(pending.request, from: pair.joiner.nodeID, now: now))
        grant.proof = pending.request.proof
        #expect(throws: ShoalError.self) {
            try pair.joiner.accept(grant, for: pending, from: pair.issuer.nodeID, now: now)
        }
        #expect(!pair.joiner.isMember(pair.issuer.nodeID))
    }

    @Test("a grant with the key of another cluster than the code's is refused")
    func otherCluster() throws {
        let pair = try pair()
        let (_, code) = try code(of: pair.issuer)
        let pending = try pair.joiner.request(with: code)
        var grant = try grant(pair.issuer.judge(pending.request, from: pair.joiner.nodeID, now: now))
        grant.clusterKey = ClusterKey.random().hexadecimal
        let error = #expect(throws: ShoalError.self) { try pending.verify(grant) }
        #expect(error?.message.contains("another cluster") == true)
    }

    @Test("nodes that share a key admit each other, others are ignored")
    func sharedKey() throws {
        let key = ClusterKey.random()
        let a = try ClusterTrust.inMemory(nodeName: "a", clusterKey: key, sharesKey: true)
        let b = try ClusterTrust.inMemory(nodeName: "b", clusterKey: key, sharesKey: true)
        let stranger = try ClusterTrust.inMemory(nodeName: "c", sharesKey: true)
        let pending = try #require(a.request(to: b.nodeID))
        let grant = try grant(b.judge(pending.request, from: a.nodeID, now: now))
        #expect(grant.clusterKey == nil)
        try a.accept(grant, for: pending, from: b.nodeID, now: now)
        #expect(a.isMember(b.nodeID) && b.isMember(a.nodeID))
        let wrong = try #require(stranger.request(to: b.nodeID))
        #expect(isIgnored(b.judge(wrong.request, from: stranger.nodeID, now: now)))
    }

    @Test("having the cluster's own key lets nobody in, unless it was given as shared")
    func ownKeyIsNoTicket() throws {
        let key = ClusterKey.random()
        let closed = try ClusterTrust.inMemory(nodeName: "closed", clusterKey: key)
        let keyed = try ClusterTrust.inMemory(nodeName: "keyed", clusterKey: key, sharesKey: true)
        let pending = try #require(keyed.request(to: closed.nodeID))
        #expect(isIgnored(closed.judge(pending.request, from: keyed.nodeID, now: now)))
        #expect(!closed.admitsStrangers(now: now))
        #expect(closed.request(to: keyed.nodeID) == nil)
    }

    @Test("a forgotten node does not come back, neither with the shared key nor with an invite")
    func forgotten() throws {
        let key = ClusterKey.random()
        let a = try ClusterTrust.inMemory(nodeName: "a", clusterKey: key, sharesKey: true)
        let b = try ClusterTrust.inMemory(nodeName: "b", clusterKey: key, sharesKey: true)
        let pending = try #require(b.request(to: a.nodeID))
        _ = try grant(a.judge(pending.request, from: b.nodeID, now: now))
        try a.forget(b.nodeID, now: now)
        #expect(!a.isMember(b.nodeID))
        #expect(refusal(a.judge(pending.request, from: b.nodeID, now: now)).contains("for good"))
        let invite = try b.request(with: code(of: a).1)
        #expect(refusal(a.judge(invite.request, from: b.nodeID, now: now)).contains("for good"))
        #expect(throws: ShoalError.self) { try a.forget(a.nodeID, now: now) }
    }

    @Test("a node with other members does not leave them by joining another cluster")
    func doesNotDesert() throws {
        let pair = try pair()
        let third = try ClusterTrust.inMemory(nodeName: "third")
        let pending = try pair.joiner.request(with: code(of: pair.issuer).1)
        let grant = try grant(pair.issuer.judge(pending.request, from: pair.joiner.nodeID, now: now))
        try pair.joiner.accept(grant, for: pending, from: pair.issuer.nodeID, now: now)
        let error = #expect(throws: ShoalError.self) { try pair.joiner.request(with: code(of: third).1) }
        #expect(error?.message.contains("a member of cluster \(pair.issuer.clusterID) with issuer") == true)
        #expect(throws: ShoalError.self) { try third.request(with: code(of: third).1) }
    }

    @Test("changes are told, and only changes")
    func events() async throws {
        let pair = try pair()
        let pending = try pair.joiner.request(with: code(of: pair.issuer).1)
        _ = pair.issuer.judge(pending.request, from: pair.joiner.nodeID, now: now)
        _ = pair.issuer.judge(pending.request, from: pair.joiner.nodeID, now: now)
        try pair.issuer.merge(pair.issuer.records)
        try pair.issuer.forget(pair.joiner.nodeID, now: now)
        var events = pair.issuer.events.makeAsyncIterator()
        let joiner = Member(nodeID: pair.joiner.nodeID, name: "joiner", addedUnixSeconds: now)
        #expect(await events.next() == .memberAdded(joiner))
        #expect(await events.next() == .memberRemoved(pair.joiner.nodeID))
    }

    @Test("attempts are limited per address, and the table is bounded")
    func attempts() {
        var limit = AttemptLimit(perSecond: 2, burst: 3, addressCountMax: 2)
        let attempts: [(String, Int)] = [
            ("a", 1000), ("a", 1000), ("a", 1000), ("a", 1000), ("b", 1000), ("a", 1500), ("a", 1500), ("c", 2000),
            ("b", 2000),
        ]
        let allowed = attempts.map { address, now in limit.allows(address, now: .milliseconds(now)) }
        #expect(allowed == [true, true, true, false, true, true, false, true, true])
    }
}
