import Foundation
import NIOCore
import NIOSSL
import ShoalCore
import ShoalTrust
import ShoalWire
import Testing

extension HardTimes {
    /// What does not belong is refused every time, and told once.
    @Suite("Refusals are logged once", .timeLimit(.minutes(10)))
    struct RefusalsAreLoggedOnce {
        private static let attemptCount = 4

        @Test("an invite is of no use after its time, after its use, and after it was revoked")
        func uselessInvites() async throws {
            try await ClusterFixture.withStrangers(nodeCount: 3) { cluster in
                let (issuer, guest, thief) = (cluster.nodes[0], cluster.nodes[1], cluster.nodes[2])
                let expired = try await invite(by: issuer, cluster, lifetimeSeconds: 1)
                let revoked = try await invite(by: issuer, cluster)
                let used = try await invite(by: issuer, cluster)
                _ = try await cluster.send(.DELETE, "/shoal/v1/invites/\(revoked.id)", to: issuer)
                let (status, answer) = try await join(with: used, guest, cluster)
                #expect(status == 200, "\(answer)")
                try await cluster.waitUntil(issuer, sees: 2)
                try await eventually("the invite has expired") {
                    let all: [InviteReport] = try await cluster.get("/shoal/v1/invites", from: issuer)
                    return all.contains { $0.id == expired.id && $0.state == .expired }
                }
                let cases = [
                    (expired, "this invite expired"), (used, "this invite was used already, by another node"),
                    (revoked, "this invite was revoked"),
                ]
                for (invite, sentence) in cases {
                    for _ in 0..<Self.attemptCount {
                        let (status, answer) = try await join(with: invite, thief, cluster)
                        #expect(status == 403, "\(answer)")
                        #expect(answer.contains(sentence), "\(answer)")
                    }
                    #expect(refusals(issuer, sentence) == 1, "\(issuer.log)")
                }
                let members: [MemberReport] = try await cluster.get("/shoal/v1/members", from: issuer)
                #expect(members.map(\.name).sorted() == ["a", "b"])
            }
        }

        @Test("a node with another cluster key is refused as often as it dials, and both sides say why")
        func wrongKey() async throws {
            let key = ClusterFixture.randomClusterKey()
            try await ClusterFixture.withStrangers(nodeCount: 1, arguments: ["--cluster-key", key]) { cluster in
                let proxy = try await RecordingProxy.start(to: cluster.nodes[0].link)
                let stranger = try cluster.start(
                    "z", arguments: ["--cluster-key", ClusterFixture.randomClusterKey(), "--peer", proxy.address])
                try await eventually("the node dialled several times and says what is wrong") {
                    let nodes: [NodeReport]? = try? await cluster.get("/shoal/v1/nodes", from: stranger)
                    return nodes?.contains { $0.reachability == .unreachable && $0.problem != nil } == true
                        && proxy.sent.count >= Self.attemptCount
                }
                let nodes: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: stranger)
                #expect(
                    nodes.contains { $0.problem?.contains("its cluster key is not this node's") == true }, "\(nodes)")
                #expect(
                    refusals(cluster.nodes[0], "has no valid proof that it may join") == 1, "\(cluster.nodes[0].log)")
                await stranger.stop()
                await proxy.close()
            }
        }

        @Test("a proof that was made for another key, and one that is made up, get not a byte")
        func stolenProof() async throws {
            let key = ClusterFixture.randomClusterKey()
            try await ClusterFixture.withStrangers(nodeCount: 1, arguments: ["--cluster-key", key]) { cluster in
                let node = cluster.nodes[0]
                let reports: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                let id = try #require(reports.first?.id)
                let member = try ClusterTrust.inMemory(
                    nodeName: "m", clusterKey: #require(ClusterKey(hexadecimal: key)), sharesKey: true)
                let genuine = try #require(member.request(to: id)).request
                let thief = try NodeKey.make()
                for _ in 0..<Self.attemptCount {
                    let words = try frame(.admission, AdmissionMessage.request(genuine))
                    let answer = try await Stranger.talk(to: node.link, tls: .init(key: thief), saying: words)
                    #expect(answer.bytes.isEmpty)
                }
                let sentence = "node \(thief.nodeID) has no valid proof that it may join"
                #expect(refusals(node, sentence) == 1, "\(node.log)")
            }
        }

        @Test("a handshake, hello and proof that were recorded on the wire open nothing when they are played again")
        func replay() async throws {
            let key = ClusterFixture.randomClusterKey()
            try await ClusterFixture.withStrangers(nodeCount: 1, arguments: ["--cluster-key", key]) { cluster in
                let node = cluster.nodes[0]
                let proxy = try await RecordingProxy.start(to: node.link)
                let member = try cluster.start("m", arguments: ["--cluster-key", key, "--peer", proxy.address])
                try await cluster.waitUntil(node, sees: 2)
                await member.stop()
                await proxy.close()
                try await cluster.waitUntil(node, sees: 1)
                let recorded = proxy.sent.filter { !$0.isEmpty }
                #expect(!recorded.isEmpty)
                for words in recorded {
                    for _ in 0..<Self.attemptCount {
                        let answer = try await Stranger.talk(to: node.link, saying: words)
                        // The server's half of a handshake that nobody can finish; its end is an alert or nothing.
                        #expect(answer.bytes.count < 4096, "\(answer.bytes.count) bytes")
                    }
                }
                let nodes: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                #expect(nodes.filter { $0.reachability == .connected }.isEmpty, "\(nodes)")
                #expect(refusals(node, "TLS handshake") == 1, "\(node.log)")
            }
        }

        @Test("TLS 1.2 is refused, even from a member's own key")
        func downgrade() async throws {
            try await ClusterFixture.withStrangers(nodeCount: 1) { cluster in
                let node = cluster.nodes[0]
                let folder = node.directory.path
                // The node's key itself: nobody is more of a member than that.
                let own = try NodeKey.loadOrCreate(in: folder)
                let hello = try frame(.ping, [String]())
                let modern = try await Stranger.talk(to: node.link, tls: .init(key: own), saying: hello)
                #expect(!modern.bytes.isEmpty, "a member hears why: \(modern.text)")
                for _ in 0..<Self.attemptCount {
                    let answer = try await Stranger.talk(
                        to: node.link, tls: .init(key: own, maximumVersion: .tlsv12), saying: hello)
                    #expect(answer.bytes.isEmpty)
                }
                #expect(refusals(node, "UNSUPPORTED_PROTOCOL") == 1, "\(node.log)")
            }
        }

        // MARK: What nodes are asked and told

        private func invite(
            by node: NodeProcess, _ cluster: ClusterFixture, lifetimeSeconds: Int = 600
        ) async throws -> InviteReport {
            let (status, body) = try await cluster.send(
                .POST, "/shoal/v1/invites", to: node, body: "{\"lifetimeSeconds\": \(lifetimeSeconds)}")
            #expect(status == 201)
            return try JSONDecoder().decode(InviteReport.self, from: body)
        }

        private func join(
            with invite: InviteReport, _ node: NodeProcess, _ cluster: ClusterFixture
        ) async throws -> (status: Int, answer: String) {
            let code = try #require(invite.code)
            let (status, body) = try await cluster.send(
                .POST, "/shoal/v1/join", to: node, body: "{\"code\": \"\(code)\"}")
            return (status, String(decoding: body, as: UTF8.self))
        }

        private func frame(_ kind: FrameKind, _ message: some Encodable) throws -> [UInt8] {
            Array(try Frame(kind: kind, description: FrameJSON.encode(message)).encoded().readableBytesView)
        }

        private func refusals(_ node: NodeProcess, _ sentence: String) -> Int {
            node.log.split(separator: "\n").count { $0.contains("a connection was refused") && $0.contains(sentence) }
        }
    }
}
