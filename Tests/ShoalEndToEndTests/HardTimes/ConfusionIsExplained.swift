import Foundation
import Logging
import NIOCore
import NIOPosix
import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalTesting
import ShoalTrust
import ShoalWire
import Testing

extension HardTimes {
    /// What people set up wrongly works as far as it can, and says what is wrong.
    @Suite("Confusion is explained", .timeLimit(.minutes(10)))
    struct ConfusionIsExplained {
        @Test("nodes of one name work together, say so, and are told apart by their ids")
        func duplicateNames() async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.with(nodeCount: 1) { cluster in
                let key = try #require(cluster.arguments.last)
                try await cluster.withNode(
                    "twin", arguments: ["--name", "a", "--cluster-key", key, "--peer", cluster.nodes[0].link]
                ) { _ in
                    let node = cluster.nodes[0]
                    try await cluster.waitUntil(node, sees: 2)
                    let nodes: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                    #expect(
                        nodes.allSatisfy { $0.problem?.hasPrefix("2 nodes are called a; this is") == true }, "\(nodes)")
                    try await expectAdvice("2 nodes are called a", ["--name"], by: node, cluster)
                    do {
                        _ = try await cluster.load(model, layers: "a=0-29", on: node)
                        Issue.record("a name that two nodes have was taken for one of them")
                    } catch let failure as TestFailure {
                        #expect(failure.description.contains("2 nodes"), "\(failure)")
                    }
                    let (status, body) = try await cluster.send(.GET, "/shoal/v1/logs/a", to: node)
                    #expect(status == 400)
                    #expect(String(decoding: body, as: UTF8.self).contains("2 nodes match"))
                    let ids = nodes.compactMap(\.id?.rawValue)
                    let loaded = try await cluster.load(model, layers: "\(ids[0])=0-14,\(ids[1])=15-29", on: node)
                    #expect(loaded.stages.map(\.node.rawValue) == ids)
                    let (answered, _) = try await cluster.chat("What is the capital of France?", on: node)
                    #expect(answered == 200)
                }
            }
        }

        @Test("nodes whose clocks are an hour ahead and an hour behind invite, join, link and answer")
        func wrongClocks() async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.withStrangers(nodeCount: 1) { cluster in
                let library = try await TestFiles.compile("shifted_clock", in: cluster.directory)
                let clock = { (seconds: Int) in
                    ["LD_PRELOAD": library.path, "SHIFTED_CLOCK_SECONDS": "\(seconds)"]
                }
                try await cluster.withNode("fast", environment: clock(3600)) { fast in
                    try await cluster.waitUntil(fast, sees: 1)
                    let code = try await Self.invite(by: fast, cluster, lifetimeSeconds: 60)
                    try await cluster.withNode("slow", environment: clock(-3600)) { slow in
                        try await cluster.waitUntil(slow, sees: 1)
                        for node in [slow, cluster.nodes[0]] {
                            let invite = node === slow ? code : try await Self.invite(by: fast, cluster)
                            let (status, body) = try await cluster.send(
                                .POST, "/shoal/v1/join", to: node, body: "{\"code\": \"\(invite)\"}")
                            #expect(status == 200, "\(String(decoding: body, as: UTF8.self))")
                        }
                        for node in [fast, slow, cluster.nodes[0]] { try await cluster.waitUntil(node, sees: 3) }
                        _ = try await cluster.load(model, layers: "slow=0-9,fast=10-19,a=20-29", on: fast)
                        let (status, answer) = try await cluster.chat("What is the capital of France?", on: slow)
                        #expect(status == 200, "\(answer.text)")
                        try await expectAdvice("the clock of fast is", ["ahead"], by: slow, cluster)
                        // The clocks do differ, or this test shows nothing.
                        let members: [MemberReport] = try await cluster.get("/shoal/v1/members", from: fast)
                        let added = Dictionary(uniqueKeysWithValues: members.map { ($0.name, $0.addedUnixSeconds) })
                        let now = Int(Date().timeIntervalSince1970)
                        #expect(try #require(added["fast"]) > now + 3000)
                    }
                }
            }
        }

        @Test("two clusters on one network do not meet, and each says once that the other is there")
        func twoClusters() async throws {
            try await ClusterFixture.with(nodeCount: 2, namesPeers: false) { first in
                try await ClusterFixture.with(nodeCount: 2, namesPeers: false) { second in
                    for (cluster, other) in [(first, second), (second, first)] {
                        let key = try #require(other.arguments.last)
                        let tag = try #require(ClusterKey(hexadecimal: key)).clusterID
                        for node in cluster.nodes {
                            try await eventually("node \(node.name) has heard the other cluster") {
                                node.log.contains("(tag \(tag))")
                            }
                            let members: [MemberReport] = try await cluster.get("/shoal/v1/members", from: node)
                            #expect(members.count == 2)
                            try await cluster.waitUntil(node, sees: 2)
                            #expect(node.log.split(separator: "\n").count { $0.contains("(tag \(tag))") } == 1)
                            #expect(!node.log.contains("a connection was refused"))
                        }
                    }
                }
            }
        }

        @Test("a node of another protocol version is told so, and this node says it too")
        func otherVersionDials() async throws {
            try await ClusterFixture.with(nodeCount: 1) { cluster in
                let node = cluster.nodes[0]
                let (security, hello) = try Self.otherVersion(key: #require(cluster.arguments.last))
                let error = await #expect(throws: ShoalError.self) {
                    _ = try await LinkDialer.dial(
                        LinkAddress(parsing: node.link), eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
                        security: security, hello: hello)
                }
                let sentence = "speaks protocol 9, this node protocol \(ShoalVersion.protocolNumber)"
                #expect(error?.message.contains(sentence) == true, "\(error as Any)")
                #expect(error?.message.contains("install the same Shoal version on both") == true)
                #expect(node.log.contains(sentence), "\(node.log)")

                // The number is in every frame as well, so that a hello need not be readable.
                var frame = Array(
                    try Frame(kind: .hello, description: FrameJSON.encode(hello)).encoded().readableBytesView)
                frame[4] = 9
                let answer = try await Stranger.talk(
                    to: node.link, tls: .init(key: security.trust.nodeKey), saying: frame)
                #expect(answer.text.contains("protocol 9"), "\(answer.text)")
            }
        }

        @Test("a node that dials one of another protocol version says so")
        func otherVersionListens() async throws {
            let key = ClusterFixture.randomClusterKey()
            let (security, hello) = try Self.otherVersion(key: key)
            let listener = try await LinkListener.bind(
                LinkAddress(parsing: "127.0.0.1:0"), eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
                security: security, hello: { hello }, onLink: { connection, _ in connection.close(because: nil) })
            let arguments = ["--cluster-key", key, "--peer", "\(listener.boundAddress)"]
            try await ClusterFixture.withStrangers(nodeCount: 1, arguments: arguments) { cluster in
                try await eventually("the node says what is wrong with its peer") {
                    let nodes: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: cluster.nodes[0])
                    return nodes.contains { $0.problem?.contains("speaks protocol 9, this node protocol") == true }
                }
            }
            await listener.close()
        }

        // MARK: What is set up wrongly

        /// What `shoal doctor` says, as soon as the nodes have told each other.
        private func expectAdvice(
            _ finding: String, _ words: [String], by node: NodeProcess, _ cluster: ClusterFixture
        ) async throws {
            try await eventually("the doctor says: \(finding)") {
                let report: DoctorReport = try await cluster.get("/shoal/v1/doctor", from: node)
                return report.checks.contains { check in
                    let text = "\(check.finding); \(check.advice ?? "")"
                    return text.contains(finding) && words.allSatisfy(text.contains)
                }
            }
        }

        private static func otherVersion(key: String) throws -> (LinkSecurity, LinkHello) {
            let trust = try ClusterTrust.inMemory(
                nodeName: "v9", clusterKey: #require(ClusterKey(hexadecimal: key)), sharesKey: true)
            let security = try LinkSecurity(
                trust: trust, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            var hello = LinkHello(
                nodeID: trust.nodeID, nodeName: "v9", llamaBuild: "b0", linkAddress: "127.0.0.1:1", apiAddress: nil)
            hello.protocolNumber = 9
            return (security, hello)
        }

        private static func invite(
            by node: NodeProcess, _ cluster: ClusterFixture, lifetimeSeconds: Int = 600
        ) async throws -> String {
            let (_, body) = try await cluster.send(
                .POST, "/shoal/v1/invites", to: node, body: "{\"lifetimeSeconds\": \(lifetimeSeconds)}")
            return try #require(JSONDecoder().decode(InviteReport.self, from: body).code)
        }
    }
}
