import NIOCore
import ShoalCore
import ShoalLinks
import ShoalWire

/// What a node does with the messages of one control link. Events of running requests are handled on the data loop, in
/// order; what the cluster's keeper has to know goes to its own inbox, everything else to the node.
final class NodeControlHandler: ControlLinkHandler {
    private let node: Node
    /// For whoever keeps the link alive.
    let closing = LinkClosing()

    init(node: Node) { self.node = node }

    func answer(_ request: ByteBuffer, from link: ControlLink) async throws(ShoalError) -> ByteBuffer {
        let request = try FrameJSON.decode(ControlRequest.self, from: request)
        return try FrameJSON.encode(try await node.answer(request, from: link))
    }

    func received(event body: ByteBuffer, from link: ControlLink) {
        let event: ControlEvent
        do throws(ShoalError) {
            event = try FrameJSON.decode(ControlEvent.self, from: body)
        } catch {
            link.close(because: error)
            return
        }
        switch event {
        case .generation(let request, let event): node.streams.deliver(event, to: request, from: link)
        case .consumed(let request, let instance, let tokenCount):
            node.heads[instance]?.assumeIsolated { $0.consumed(request, tokenCount: tokenCount) }
        case .cancel(let request, let instance):
            node.heads[instance]?.assumeIsolated { $0.cancel(request) }
        case .cluster(let message): node.keeper.inbox.post(.message(message, from: link.peer.nodeID))
        case .heads(let report): node.keeper.inbox.post(.report(report, from: link.peer.nodeID))
        case .desired(let news): node.keeper.inbox.post(.news(news, from: link.peer.nodeID))
        default: forward(event, from: link)
        }
    }

    /// Announcements are repeated, so that one more or less does not matter.
    private func forward(_ event: ControlEvent, from link: ControlLink) {
        guard !node.inbox.post(.control(event, link)) else { return }
        switch event {
        case .stageLost, .stageDisconnected:
            link.close(because: ShoalError(.overloaded, "more control events came than this node can handle"))
        default: break
        }
    }

    func closed(_ link: ControlLink, because error: ShoalError?) {
        node.keeper.inbox.post(.unlinked(link))
        node.inbox.post(.linkClosed(link, error))
        closing.resolve(error)
    }
}
