internal import NIOCore
internal import ShoalCore
internal import ShoalWire

/// The event loop's half of a `FrameConnection`; every method runs on that loop.
final class FrameConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Set right after the handler is added; nil once the channel is gone, which ends the cycle of references. A later
    /// `start` brings it back to hear that it is too late.
    var connection: FrameConnection?
    /// Whether the peer may hear why the connection closes.
    var isPeerTrusted = true
    /// Whether the bytes are somebody else's now.
    private(set) var isHandedOver = false
    private let configuration: LinkConfiguration
    private var context: ChannelHandlerContext?
    private var receiver: (any FrameReceiver)?
    private var reader = FrameReader()
    private var isClosing = false
    private var isClosed = false
    /// The stream ended without a close of ours; frames of before may still wait for a receiver.
    private var endedByPeer = false
    private var closeReason: ShoalError?

    init(configuration: LinkConfiguration) { self.configuration = configuration }

    // MARK: Calls of the connection

    func start(_ newReceiver: any FrameReceiver, on connection: FrameConnection) {
        self.connection = connection
        receiver = newReceiver
        deliver()
        if isClosed {
            reportClosed()
        } else {
            setAutoRead(true)
        }
    }

    func pause(limits: FrameSizeLimits) {
        receiver = nil
        reader.limits = limits
        setAutoRead(false)
    }

    func setLimits(_ limits: FrameSizeLimits) { reader.limits = limits }

    func send(_ frame: Frame) {
        guard !isClosing, let context, let connection else { return }
        let waiting = waitingByteCount(context)
        guard waiting == 0 || waiting + frame.byteCount <= configuration.outboundByteCountMax else {
            let reason = "\(connection.peerDescription) does not read: \(waiting) bytes wait for it"
            return close(because: ShoalError(.linkLost, reason), sayingGoodbye: false)
        }
        let pieces: (first: ByteBuffer, rest: ByteBuffer?)
        do throws(ShoalError) {
            pieces = try frame.encodedPieces()
        } catch {
            return close(because: error, sayingGoodbye: true)
        }
        connection.countSent(frame)
        if let rest = pieces.rest {
            context.write(Self.wrapOutboundOut(pieces.first), promise: nil)
            context.writeAndFlush(Self.wrapOutboundOut(rest), promise: nil)
        } else {
            context.writeAndFlush(Self.wrapOutboundOut(pieces.first), promise: nil)
        }
    }

    /// What the peer has not taken yet; zero while that is no more than the high water mark.
    private func waitingByteCount(_ context: ChannelHandlerContext) -> Int {
        guard !context.channel.isWritable else { return 0 }
        // A channel that cannot tell is closed.
        return (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    func close(because error: ShoalError?, sayingGoodbye: Bool) {
        guard !isClosing else { return }
        if sayingGoodbye, isPeerTrusted, configuration.saysGoodbye, let error { sendGoodbye(error) }
        isClosing = true
        closeReason = error
        context?.close(promise: nil)
    }

    /// Leaves the pipeline; what no frame has taken goes to the handlers behind this one.
    func handOver() {
        guard let context, !isClosing, !isHandedOver else { return }
        isHandedOver = true
        receiver = nil
        let unread = reader.takeUnread()
        if unread.readableBytes > 0 {
            context.fireChannelRead(Self.wrapInboundOut(unread))
            context.fireChannelReadComplete()
        }
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    /// Leaves the pipeline with `autoRead` off; returns what no frame has taken. Nil when the connection is closed, or
    /// its bytes are somebody else's already.
    func takeOver() -> ByteBuffer? {
        guard let context, !isClosing, !isHandedOver else { return nil }
        setAutoRead(false)
        isHandedOver = true
        receiver = nil
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        return reader.takeUnread()
    }

    // MARK: Events of the channel

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        connection = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        reader.append(Self.unwrapInboundIn(data))
        deliver()
        guard receiver == nil, reader.unreadByteCount > configuration.unstartedByteCountMax else { return }
        close(
            because: ShoalError(
                .overloaded, "\(reader.unreadByteCount) bytes came before anybody here took the connection's frames"),
            sayingGoodbye: true)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if let connection, !isClosing {
            receiver?.writabilityChanged(context.channel.isWritable, on: connection)
        }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? ShoalError { return close(because: error, sayingGoodbye: false) }
        let peer = connection?.peerDescription ?? "the peer"
        close(because: ShoalError(.linkLost, "the connection to \(peer) broke: \(error)"), sayingGoodbye: false)
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        endedByPeer = !isClosing
        isClosing = true
        reportClosed()
        context.fireChannelInactive()
    }

    // MARK: Delivery

    private func deliver() {
        // Ends: every turn takes a frame out of a finite buffer, and receivers may stop it by closing or pausing.
        while let receiver, let connection, !isClosing || isClosed {
            do throws(ShoalError) {
                guard let frame = try reader.next() else { return }
                connection.countReceived(frame)
                guard frame.kind != .goodbye else { return farewell(frame) }
                receiver.received(frame, on: connection)
            } catch {
                let reason = error.during("frames from \(connection.peerDescription)")
                // The stream may have ended before somebody took its frames.
                guard !isClosed else { return closeReason = closeReason ?? reason }
                return close(because: reason, sayingGoodbye: true)
            }
        }
    }

    private func farewell(_ frame: Frame) {
        do throws(ShoalError) {
            closeReason = try FrameJSON.decode(ShoalError.self, from: frame.description)
        } catch {
            closeReason = error
        }
        close(because: closeReason, sayingGoodbye: false)
    }

    /// Best effort: what the kernel takes at once reaches the peer before the end of the stream.
    private func sendGoodbye(_ error: ShoalError) {
        // An error that cannot be written as JSON is not worth more than the closing itself.
        guard let description = try? FrameJSON.encode(error) else { return }
        send(Frame(kind: .goodbye, description: description))
    }

    private func endOfStreamReason(_ peer: String) -> ShoalError {
        do throws(ShoalError) {
            try reader.finish()
        } catch {
            return ShoalError(.linkLost, "\(peer) closed the connection: \(error.message)")
        }
        return ShoalError(.linkLost, "\(peer) closed the connection")
    }

    /// Tells the receiver once; without one, `start` asks again.
    private func reportClosed() {
        guard isClosed, let receiver, let connection else { return }
        self.receiver = nil
        if endedByPeer, closeReason == nil { closeReason = endOfStreamReason(connection.peerDescription) }
        self.connection = nil
        receiver.closed(connection, because: closeReason)
    }

    private func setAutoRead(_ isOn: Bool) {
        guard let context, !isClosing else { return }
        // Fails only on a channel that is already closed, which `channelInactive` reports.
        try? context.channel.syncOptions?.setOption(.autoRead, value: isOn)
    }
}
