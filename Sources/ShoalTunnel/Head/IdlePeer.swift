internal import NIOCore

/// A connection to the worker's end that waits for llama-server's next session.
///
/// While it starts, llama-server opens a session for every few questions, one after the other. A session that changed
/// nothing leaves its connection, and the rpc-server's, to the next one. Lives on one event loop.
final class IdlePeer {
    private var idle: (channel: any Channel, handler: StreamHandler<HeadRelay>)?
    private var deadline: Scheduled<Void>?
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

    func close() {
        isClosed = true
        take()?.channel.close(promise: nil)
    }
}
