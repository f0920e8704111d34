internal import NIOCore

/// Who a channel's bytes are for. Every method is called on the channel's event loop.
protocol StreamOwner: AnyObject {
    associatedtype Side

    func received(_ bytes: ByteBuffer, from side: Side)
    /// Nothing more is there for now.
    func receivedAll(from side: Side)
    func writabilityChanged(of side: Side)
    /// Called once.
    func closed(_ side: Side, because error: (any Error)?)
}

/// Gives the bytes of one of a relay's two channels to it.
final class StreamHandler<Owner: StreamOwner>: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let side: Owner.Side
    /// Until the channel is gone, which ends the cycle of references. While there is none, the peer has nothing to say.
    var owner: Owner?
    private var error: (any Error)?

    init(_ owner: Owner, side: Owner.Side) {
        self.owner = owner
        self.side = side
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let owner else { return context.close(promise: nil) }
        owner.received(Self.unwrapInboundIn(data), from: side)
    }

    func channelReadComplete(context: ChannelHandlerContext) { owner?.receivedAll(from: side) }

    func channelWritabilityChanged(context: ChannelHandlerContext) { owner?.writabilityChanged(of: side) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.error = error
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        let owner = owner
        self.owner = nil
        owner?.closed(side, because: error)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        let owner = owner
        self.owner = nil
        owner?.closed(side, because: error)
    }
}

extension Channel {
    /// On the loop.
    func setAutoRead(_ isOn: Bool) {
        // Fails only on a channel that is already closed, which its handler reports.
        try? syncOptions?.setOption(.autoRead, value: isOn)
    }

    /// Closes once what was written is gone, or when that takes too long. On the loop.
    func closeAfterWrites() {
        guard isActive else { return close(promise: nil) }
        let deadline = eventLoop.scheduleTask(in: TunnelLimits.closingDeadline) { self.close(promise: nil) }
        writeAndFlush(ByteBuffer()).whenComplete { _ in
            deadline.cancel()
            self.close(promise: nil)
        }
    }
}
