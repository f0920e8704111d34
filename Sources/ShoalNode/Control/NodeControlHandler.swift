import NIOCore
import ShoalCore
import ShoalLinks
import ShoalWire

/// What a node does with the messages of one control link. Events of running requests are handled on the data loop, in
/// order; everything else goes to the node.
final class NodeControlHandler: ControlHandler {
    private let node: Node

    init(node: Node) { self.node = node }

    func handle(request: ByteBuffer, on link: ControlLink) async -> ByteBuffer {
        let reply: ControlReply
        do throws(ShoalError) {
            reply = await node.answer(try FrameJSON.decode(ControlRequest.self, from: request), from: link)
        } catch {
            reply = .failed(error)
        }
        return encoded(reply)
    }

    func handle(event body: ByteBuffer, on link: ControlLink) {
        let event: ControlEvent
        do throws(ShoalError) {
            event = try FrameJSON.decode(ControlEvent.self, from: body)
        } catch {
            link.close(because: error)
            return
        }
        switch event {
        case .generation(let request, let event): node.streams.deliver(event, to: request)
        case .consumed(let request, let instance, let tokenCount):
            node.heads[instance]?.assumeIsolated { $0.consumed(request, tokenCount: tokenCount) }
        case .cancel(let request, let instance):
            node.heads[instance]?.assumeIsolated { $0.cancel(request) }
        default: node.inboxContinuation.yield(.control(event, link))
        }
    }

    func closed(_ link: ControlLink, because error: ShoalError?) {
        node.inboxContinuation.yield(.linkClosed(link, error))
    }

    private func encoded(_ reply: ControlReply) -> ByteBuffer {
        do throws(ShoalError) {
            return try FrameJSON.encode(reply)
        } catch {
            // Only a reply beyond the size limit cannot be encoded; its error can.
            return (try? FrameJSON.encode(ControlReply.failed(error))) ?? ByteBuffer()
        }
    }
}
