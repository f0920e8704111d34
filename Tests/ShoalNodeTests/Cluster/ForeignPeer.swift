import NIOCore
import NIOPosix
import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalStore
import ShoalTesting
import ShoalWire

@testable import ShoalNode

/// A peer of a node that says whatever a test wants.
final class ForeignPeer: Sendable {
    let events = EventRecorder<ControlEvent>()
    let closed = EventRecorder<ShoalError?>()
    let link: ControlLink

    init(to node: Node, as id: NodeID = .random(), name: String = "foreign", isTaken: Bool = true) async throws {
        let hello = LinkHello(
            nodeID: id, nodeName: name, llamaBuild: "fake", linkAddress: "127.0.0.1:1", apiAddress: nil)
        let (connection, answer) = try await LinkDialer.dial(
            LinkAddress(parsing: await node.boundLinkAddress), eventLoop: MultiThreadedEventLoopGroup.singleton.next(),
            hello: hello)
        let handler = Handler(events: events, closed: closed)
        link = ControlLink(connection: connection, peer: answer, handler: handler)
        link.start()
        // The node says this when it has taken the link.
        if isTaken { _ = await events.first { if case .node = $0 { true } else { false } } }
    }

    func ask(_ request: ControlRequest) async throws(ShoalError) -> ControlReply {
        let body = try await link.request(try FrameJSON.encode(request), deadline: .seconds(30))
        return try FrameJSON.decode(ControlReply.self, from: body)
    }

    func tell(_ event: ControlEvent) throws { link.sendEvent(try FrameJSON.encode(event)) }
}

/// What a foreign peer hears.
private final class Handler: ControlLinkHandler {
    private let events: EventRecorder<ControlEvent>
    private let closed: EventRecorder<ShoalError?>

    init(events: EventRecorder<ControlEvent>, closed: EventRecorder<ShoalError?>) {
        self.events = events
        self.closed = closed
    }

    func answer(_ request: ByteBuffer, from link: ControlLink) async throws(ShoalError) -> ByteBuffer {
        throw ShoalError(.notFound, "a foreign peer answers nothing")
    }

    func received(event: ByteBuffer, from link: ControlLink) {
        guard let event = try? FrameJSON.decode(ControlEvent.self, from: event) else { return }
        events.record(event)
    }

    func closed(_ link: ControlLink, because error: ShoalError?) { closed.record(error) }
}

extension TestCluster {
    /// The first stage of two, for a head that is not there.
    func assignment(head: NodeID, instance: InstanceID = .random(), generation: UInt32 = 1) throws -> StageAssignment {
        let stored = try StoredModel.open(path: modelPath)
        let model = ModelReference(name: "tiny", path: modelPath, fingerprint: try ModelFingerprint(of: stored))
        guard let layers = LayerRange(first: 0, end: 6) else { throw ShoalError(.internal, "no layers") }
        return StageAssignment(
            instance: instance, generation: generation, stageIndex: 0, stageCount: 2, model: model,
            load: StageLoadRequest(path: modelPath, layers: layers), head: head, downstream: head)
    }
}
