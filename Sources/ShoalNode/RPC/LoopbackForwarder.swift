import Logging
import NIOCore
import NIOPosix
import ShoalCore
import Synchronization

/// A port of this machine's loopback whose connections go somewhere else: to another node over its own links, or to a
/// worker that this node carries traffic for.
final class LoopbackForwarder: Sendable {
    /// Opens the far side of one connection, with what came from it already.
    typealias Open = @Sendable () async throws(ShoalError) -> (channel: any Channel, firstBytes: ByteBuffer)

    let port: Int
    let counts = SpliceCounts()
    private let channel: any Channel
    private let state: Mutex<State>

    private struct State {
        var connections: [ObjectIdentifier: any Channel] = [:]
        var lastError: ShoalError?
        var isClosed = false
    }

    /// Connections at a time; more are closed at once.
    static let connectionCountMax = 256

    private init(channel: any Channel, port: Int) {
        self.channel = channel
        self.port = port
        state = Mutex(State())
    }

    /// Why a connection could not be forwarded last.
    var lastError: ShoalError? { state.withLock { $0.lastError } }

    /// Listens on a port that the system chooses. `open` must give channels of `eventLoop`.
    static func start(eventLoop: any EventLoop, open: @escaping Open) async throws(ShoalError) -> LoopbackForwarder {
        let holder = AcceptHolder()
        do {
            let channel = try await ServerBootstrap(group: eventLoop)
                .childChannelOption(.autoRead, value: false)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelInitializer { child in
                    child.eventLoop.makeCompletedFuture { holder.accept(child, open) }
                }
                .bind(host: "127.0.0.1", port: 0).get()
            guard let port = channel.localAddress?.port else {
                throw ShoalError(.addressUnusable, "a bound socket has no port")
            }
            let forwarder = LoopbackForwarder(channel: channel, port: port)
            holder.set(forwarder)
            return forwarder
        } catch {
            throw error as? ShoalError
                ?? ShoalError(.addressUnusable, "no port on loopback could be listened on: \(error)")
        }
    }

    /// Ends it and every connection.
    func close() {
        let connections = state.withLock { state in
            state.isClosed = true
            return Array(state.connections.values)
        }
        channel.close(promise: nil)
        for connection in connections { connection.close(promise: nil) }
    }

    fileprivate func accept(_ child: any Channel, _ open: @escaping Open) {
        let key = ObjectIdentifier(child)
        let isAdmitted = state.withLock { state in
            guard !state.isClosed, state.connections.count < Self.connectionCountMax else { return false }
            state.connections[key] = child
            return true
        }
        guard isAdmitted else { return child.close(promise: nil) }
        child.closeFuture.whenComplete { [weak self] _ in self?.forget(key) }
        // Ends by itself: opening has a deadline, and joining only starts.
        Task { [self] in
            do throws(ShoalError) {
                let far = try await open()
                try await Splice.join(near: child, far: far.channel, firstBytes: far.firstBytes, counts: counts)
            } catch {
                state.withLock { $0.lastError = error }
                child.close(promise: nil)
            }
        }
    }

    private func forget(_ key: ObjectIdentifier) { state.withLock { $0.connections[key] = nil } }
}

/// Connections may come before the forwarder that they belong to is made.
private final class AcceptHolder: Sendable {
    private let forwarder = Mutex<LoopbackForwarder?>(nil)

    func set(_ value: LoopbackForwarder) { forwarder.withLock { $0 = value } }

    /// Whoever comes that early is nobody that the port was told to.
    func accept(_ child: any Channel, _ open: @escaping LoopbackForwarder.Open) {
        guard let forwarder = forwarder.withLock({ $0 }) else { return child.close(promise: nil) }
        forwarder.accept(child, open)
    }
}
