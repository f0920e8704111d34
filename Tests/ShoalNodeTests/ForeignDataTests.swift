import NIOCore
import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalMembership
import ShoalTesting
import ShoalTrust
import Testing

@testable import ShoalNode

extension Node {
    fileprivate var knownAddresses: [String] {
        get async { await beacons?.candidates().map(\.address.description) ?? [] }
    }
}

extension NodeScenarios {
    @Suite("What a peer says is not trusted", .timeLimit(.minutes(5)))
    struct ForeignDataTests {
        @Test("a malformed event closes the link with an error")
        func malformedEvent() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let peer = try await ForeignPeer(to: a.node)
                peer.link.sendEvent(ByteBuffer(string: "{\"nothing\": 1}"))
                let reason = await peer.closed.first()
                #expect(reason?.code == .protocolViolation)
                try await cluster.until { await a.peerNames == [] }
            }
        }

        @Test("an order with impossible numbers is refused, and the node lives")
        func impossibleOrders() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity)
                let model = try cluster.assignment(head: a.node.id).model
                let wish = ModelWish(model, LoadRequest(model: model.path))
                let term = Term(counter: 1 << 20, leader: identity.trust.nodeID, life: 1)
                let stage = StageOrder(
                    node: a.node.id, nodeName: "a", layers: try #require(LayerRange(first: 0, end: 12)),
                    weightBytes: .zero)
                let good = InstanceOrder(
                    id: .random(), model: model, family: "llama", stages: [stage], contextTokenCount: 64,
                    sequenceCountMax: 1, createdUnixSeconds: 0)
                for change: (inout InstanceOrder) -> Void in [
                    { $0.stages = [] }, { $0.stages = Array(repeating: stage, count: 100) },
                    { $0.contextTokenCount = 1 }, { $0.contextTokenCount = .max }, { $0.sequenceCountMax = 0 },
                    { $0.sequenceCountMax = .max },
                ] {
                    var order = good
                    change(&order)
                    await #expect(throws: ShoalError.self) { _ = try await peer.ask(.startInstance(order, wish, term)) }
                }
                _ = try await peer.ask(.startInstance(good, wish, term))
                try await cluster.ready(good.id, at: a)
            }
        }

        @Test("commands of an older term, and of a term that is somebody else's, are refused")
        func staleCommands() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity)
                let id = InstanceID.random()
                let older = Term(counter: 1 << 20, leader: identity.trust.nodeID, life: 1)
                let newer = Term(counter: 2 << 20, leader: identity.trust.nodeID, life: 1)
                let stranger = Term(counter: 3 << 20, leader: a.node.id, life: 1)
                for (term, code) in [
                    (older, ShoalError.Code.notFound), (newer, .notFound), (older, .staleTerm),
                    (stranger, .protocolViolation),
                ] {
                    let error = await #expect(throws: ShoalError.self) {
                        _ = try await peer.ask(.stopInstance(id, term))
                    }
                    #expect(error?.code == code)
                }
            }
        }

        @Test("a stage for another node's head, or with impossible numbers, is refused")
        func impossibleAssignments() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity)
                let good = try cluster.assignment(head: identity.trust.nodeID)
                for change: (inout StageAssignment) -> Void in [
                    { $0.head = .random() }, { $0.stageIndex = .max }, { $0.stageIndex = -1 }, { $0.stageCount = .max },
                    { $0.generation = 0 },
                ] {
                    var assignment = good
                    change(&assignment)
                    await #expect(throws: ShoalError.self) { _ = try await peer.ask(.prepareStage(assignment)) }
                }
                #expect(await a.node.stages.isEmpty)
            }
        }

        @Test("sizes that do not fit together do not stop the node")
        func hugeSizes() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity)
                let layers = try #require(LayerRange(first: 0, end: 1))
                let stage = StageReport(
                    node: a.node.id, nodeName: "a", layers: layers, phase: .ready, weightBytes: ByteCount(.max))
                let report = InstanceReport(
                    id: .random(), model: "huge", family: "llama", head: identity.trust.nodeID, headName: "foreign",
                    phase: .ready,
                    stages: [stage, stage], contextTokenCount: 1, sequenceCountMax: 1, createdUnixSeconds: 0)
                var stranger = report
                stranger.id = .random()
                stranger.head = .random()
                try peer.tell(.instances([report, stranger]))
                try await cluster.until { await a.node.instances().map(\.id) == [report.id] }
                #expect(await a.node.nodes().count == 2)
            }
        }

        @Test("a late prepareStage after unloadStage starts nothing")
        func prepareAfterUnload() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let peer = try await ForeignPeer(to: a.node, as: identity)
                let assignment = try cluster.assignment(head: identity.trust.nodeID)
                _ = try await peer.ask(.unloadStage(assignment.instance))
                let error = await #expect(throws: ShoalError.self) {
                    _ = try await peer.ask(.prepareStage(assignment))
                }
                #expect(error?.code == .cancelled)
                #expect(a.launcher.liveEngineCount == 0)
            }
        }

        @Test("addresses and names of any size are bounded")
        func longTexts() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let peer = try await ForeignPeer(to: a.node)
                let long = String(repeating: "x", count: 100_000)
                let known = KnownPeer(id: .random(), addresses: [long, "no port", "127.0.0.1:2"], isDirect: true)
                try peer.tell(.peers([known]))
                try await cluster.until { await !a.node.knownAddresses.isEmpty }
                #expect(await a.node.knownAddresses == ["127.0.0.1:2"])
            }
        }

        @Test("one node gets a bounded number of links")
        func linkLimit() async throws {
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                var peers: [ForeignPeer] = []
                for _ in 0..<PeerTable.linkCountMax { peers.append(try await ForeignPeer(to: a.node, as: identity)) }
                let last = try await ForeignPeer(to: a.node, as: identity, isTaken: false)
                _ = await last.closed.first()
                #expect(await a.node.peers.connected[identity.trust.nodeID]?.links.count == PeerTable.linkCountMax)
                for peer in peers { peer.link.close(because: nil) }
                try await cluster.until { await a.node.peers.connected.isEmpty }
            }
        }

        @Test("the second of two links to a peer carries on when the first one closes, and its answers end")
        func oneLinkOfTwo() async throws {
            try await TestCluster.with { cluster in
                let nodes = try await cluster.connected("a", "b")
                try await cluster.load("a=0-5,b=6-11", at: nodes[0], knownTo: nodes)
                // A second link of the same node.
                let second = try await ForeignPeer(to: nodes[0].node, as: nodes[1].node.security, name: "b")
                try await nodes[0].engine().holdBatches()
                let stream = try await nodes[0].node.generate(.text("hello", tokenCount: 50))
                await nodes[0].node.peers.connected[nodes[1].node.id]?.links.first?.close(because: nil)
                _ = try await Answer(reading: stream).failure()
                #expect(await nodes[0].peerNames == ["b"])
                second.link.close(because: nil)
            }
        }
    }
}
