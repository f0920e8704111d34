internal import NIOCore

/// One of two handlers at the end of their channels' pipelines that pass everything on to each other. On one loop.
///
/// A channel is read only while the other one takes bytes, so at most the write buffer's high water mark and one read
/// wait on either side.
final class SpliceHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How long bytes that were taken from one side may take to leave on the other once the first has ended.
    static let drainDeadline = TimeAmount.seconds(5)

    /// Bytes that this side received.
    private(set) var byteCount = 0
    private var partner: SpliceHandler?
    private var context: ChannelHandlerContext?
    private var wantsRead = false
    private var lastWrite: EventLoopFuture<Void>?

    static func join(_ one: SpliceHandler, _ other: SpliceHandler) {
        one.partner = other
        other.partner = one
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        ended()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Self.unwrapInboundIn(data)
        byteCount += bytes.readableBytes
        partner?.write(bytes)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        partner?.context?.flush()
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        ended()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { partner?.readIfWanted() }
        context.fireChannelWritabilityChanged()
    }

    func read(context: ChannelHandlerContext) {
        if partner?.context?.channel.isWritable ?? true {
            context.read()
        } else {
            wantsRead = true
        }
    }

    private func readIfWanted() {
        guard wantsRead else { return }
        wantsRead = false
        context?.read()
    }

    private func write(_ bytes: ByteBuffer) {
        guard let context else { return }
        let written = context.eventLoop.makePromise(of: Void.self)
        lastWrite = written.futureResult
        context.write(Self.wrapOutboundOut(bytes), promise: written)
    }

    private func ended() {
        let other = partner
        partner = nil
        other?.partnerEnded()
    }

    /// What was taken over still goes out.
    private func partnerEnded() {
        partner = nil
        guard let context else { return }
        context.flush()
        guard let lastWrite else { return context.close(promise: nil) }
        let channel = context.channel
        lastWrite.whenComplete { _ in channel.close(promise: nil) }
        context.eventLoop.scheduleTask(in: Self.drainDeadline) { channel.close(promise: nil) }
    }
}
