import NIOCore
import NIOPosix
import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalMembership
import ShoalTesting
import ShoalTrust
import ShoalWire
import Testing

@testable import ShoalNode

extension NodeScenarios {
    /// A member that sends what no node sends.
    @Suite("Made-up messages of a member", .timeLimit(.minutes(60)))
    struct PeerFuzzTests {
        @Test("a node takes any events and requests of a member, and answers afterwards")
        func anything() async throws {
            let run = FuzzRun(of: "a node's control link", defaultIterationCount: 150)
            try await TestCluster.with { cluster in
                let a = try await cluster.start("a")
                let identity = try TestCluster.identity()
                let head = identity.trust.nodeID
                var peer = try await ForeignPeer(to: a.node, as: identity)
                var (events, requests) = try samples(from: head, to: a.node.id, cluster)
                var announcement = await a.node.announcement()
                announcement.id = head
                events.append(Array(try FrameJSON.encode(ControlEvent.node(announcement)).readableBytesView))
                for iteration in 0..<run.iterationCount {
                    var random = run.generator(iteration: iteration)
                    if !peer.closed.events.isEmpty { peer = try await ForeignPeer(to: a.node, as: identity) }
                    let isEvent = Bool.random(using: &random)
                    let sample = (isEvent ? events : requests)[iteration % (isEvent ? events : requests).count]
                    let bytes = ByteBuffer(bytes: JSONMutation.mutated(sample, using: &random))
                    if isEvent {
                        peer.link.sendEvent(bytes)
                    } else {
                        // Refused, or answered: both are right.
                        _ = try? await peer.link.request(bytes, deadline: .seconds(30))
                    }
                    guard iteration % 10 == 0 else { continue }
                    // Everything that adds up what peers say.
                    _ = await (a.node.nodes(), a.node.instances(), a.node.servedModels())
                    _ = try? await a.node.doctor()
                    _ = try? await a.node.links()
                    _ = try? await a.node.plan(cluster.request("a=0-11"))
                }
                // Whatever was started may run; a new peer is answered all the same.
                let last = try await ForeignPeer(to: a.node, name: "last")
                guard case .engineLogs = try await last.ask(.engineLogs(nil)) else {
                    Issue.record("SHOAL_SEED=\(run.seed): the node does not answer any more")
                    return
                }
            }
        }

        /// Good messages of a head that says it is `head`, as JSON.
        private func samples(
            from head: NodeID, to node: NodeID, _ cluster: TestCluster
        ) throws -> (events: [[UInt8]], requests: [[UInt8]]) {
            let assignment = try cluster.assignment(head: head)
            let layers = try #require(LayerRange(first: 0, end: 12))
            let order = InstanceOrder(
                id: .random(), model: assignment.model, family: "llama",
                stages: [StageOrder(node: node, nodeName: "a", layers: layers, weightBytes: ByteCount(1))],
                contextTokenCount: 64, sequenceCountMax: 1, createdUnixSeconds: 0)
            let wish = ModelWish(assignment.model, LoadRequest(model: assignment.model.path))
            let term = Term(counter: 1 << 20, leader: head, life: 1)
            let request = GenerationRequest.text("hello", tokenCount: 3)
            let error = ShoalError(.engineLost, "x")
            let events: [ControlEvent] = [
                .instances([order.report(headName: "foreign")]),
                .peers([KnownPeer(id: .random(), addresses: ["127.0.0.1:2"], isDirect: true)]),
                .members(try TestCluster.identity().trust.records),
                .stageProgress(order.id, generation: 1, stageIndex: 0, fraction: 0.5),
                .stageLost(order.id, generation: 1, stageIndex: 0, error),
                .stageDisconnected(order.id, generation: 1, stageIndex: 0, error),
                .generation(request.id, .text("x", tokens: [TokenID(rawValue: 1)])),
                .consumed(request.id, order.id, tokenCount: 1),
                .cancel(request.id, order.id),
            ]
            let requests: [ControlRequest] = [
                .prepareStage(assignment), .connectStage(assignment.instance, generation: 1),
                .inspectStage(assignment.instance), .unloadStage(assignment.instance),
                .startInstance(order, wish, term), .stopInstance(order.id, term), .reportInstance(order.id),
                .generate(request, order.id), .engineLogs(nil),
                .traces(nil),
            ]
            return (
                try events.map { Array(try FrameJSON.encode($0).readableBytesView) },
                try requests.map { Array(try FrameJSON.encode($0).readableBytesView) }
            )
        }
    }
}
