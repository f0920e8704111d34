internal import NIOCore

/// A connection to the worker's end that waits for llama-server's next session.
///
/// While it starts, llama-server opens a session for every few questions, one after the other. A session that changed
/// nothing leaves its connection, and the rpc-server's, to the next one. Lives on one event loop.
final class IdlePeer {
    private var idle: (channel: any Channel, handler: StreamHandler<HeadRelay>)?
    private var deadline: Scheduled<Void>?
    /// Opened ahead; nothing was sent on it.
    private var warm: EventLoopFuture<PeerStream>?
    private var warmDeadline: Scheduled<Void>?
    private var isClosed = false

    /// Takes a connection that is between two requests. Its handler has no owner.
    func leave(_ channel: any Channel, _ handler: StreamHandler<HeadRelay>) {
        guard !isClosed, idle == nil else { return channel.closeAfterWrites() }
        idle = (channel, handler)
        channel.setAutoRead(true)
        let me = NIOLoopBound(self, eventLoop: channel.eventLoop)
        deadline = channel.eventLoop.scheduleTask(in: TunnelLimits.idlePeerDeadline) {
            me.value.take()?.channel.close(promise: nil)
        }
    }

    /// The connection, if one is there and still open.
    func take() -> (channel: any Channel, handler: StreamHandler<HeadRelay>)? {
        deadline?.cancel()
        defer { idle = nil }
        return idle.flatMap { $0.channel.isActive ? $0 : nil }
    }

    /// Keeps a connection that is being opened for the first session that needs one.
    func warmUp(_ opening: EventLoopFuture<PeerStream>) {
        coolDown()
        guard !isClosed else { return opening.whenSuccess { $0.channel.close(promise: nil) } }
        warm = opening
        let me = NIOLoopBound(self, eventLoop: opening.eventLoop)
        warmDeadline = opening.eventLoop.scheduleTask(in: TunnelLimits.warmPeerDeadline) { me.value.coolDown() }
    }

    func takeWarm() -> EventLoopFuture<PeerStream>? {
        warmDeadline?.cancel()
        defer { warm = nil }
        return warm
    }

    /// Closes what waits: the rpc-server is free for others.
    func coolDown() {
        take()?.channel.close(promise: nil)
        takeWarm()?.whenSuccess { $0.channel.close(promise: nil) }
    }

    func close() {
        isClosed = true
        coolDown()
    }
}
