package import NIOCore
package import ShoalCore

/// What a node does with what its peer says on a control link.
package protocol ControlLinkHandler: AnyObject, Sendable {
    /// Answers a request; runs in a task of its own, cancelled when the link closes. At most
    /// `LinkConfiguration.requestsInProgressMax` run side by side. Throwing answers with the error.
    func answer(_ request: ByteBuffer, from link: ControlLink) async throws(ShoalError) -> ByteBuffer

    /// A one-way message. Called on the link's event loop, in the order of sending; must not block.
    func received(event: ByteBuffer, from link: ControlLink)

    /// Called once, on the event loop, after everything else. `error` is nil when this side closed without a reason.
    func closed(_ link: ControlLink, because error: ShoalError?)
}
