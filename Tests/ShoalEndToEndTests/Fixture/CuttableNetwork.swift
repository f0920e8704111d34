import NIOCore
import NIOPosix
import ShoalLinks
import Synchronization

/// The network between nodes that advertise its doors: all that they say to each other passes here, until it is cut.
final class CuttableNetwork: Sendable {
    enum Cut: CaseIterable, Sendable {
        /// Connections end, and new ones too.
        case closed
        /// Nothing arrives and nothing ends, as behind a cable that was pulled.
        case silent
    }

    private struct State {
        var cut: Cut?
        var awaited: (cut: Cut, byteCount: Int)?
        var targets: [Int: LinkAddress] = [:]
        var listeners: [any Channel] = []
        /// Pairs that pass bytes on.
        var joined: [any Channel] = []
        /// Came while nothing arrived.
        var held: [any Channel] = []
    }

    private let state = Mutex(State())

    /// Opens a door; what comes in ends until the door leads somewhere. The address to advertise.
    func openDoor() async throws -> String {
        let number = state.withLock { $0.listeners.count }
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { near in
                near.eventLoop.makeCompletedFuture { self.accept(near, door: number) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        state.withLock { $0.listeners.append(listener) }
        return "127.0.0.1:\(listener.localAddress?.port ?? 0)"
    }

    func lead(door: Int, to address: String) throws {
        let target = try LinkAddress(parsing: address)
        state.withLock { $0.targets[door] = target }
    }

    /// Cuts now, or when so many more bytes have passed.
    func cut(_ how: Cut, afterByteCount byteCount: Int = 0) {
        let channels: [any Channel] = state.withLock { state in
            guard byteCount <= 0 else {
                state.awaited = (how, byteCount)
                return []
            }
            state.awaited = nil
            state.cut = how
            return state.joined
        }
        for channel in channels { apply(how, to: channel) }
    }

    var isCut: Bool { state.withLock { $0.cut != nil } }

    /// Lets everything pass again. What was on its way arrives now, where its connection still is.
    func restore() {
        let (joined, held) = state.withLock { state in
            defer { state.held = [] }
            state.cut = nil
            state.awaited = nil
            return (state.joined, state.held)
        }
        for channel in held { channel.close(promise: nil) }
        for channel in joined { channel.setOption(.autoRead, value: true).whenFailure { _ in } }
    }

    func close() {
        let channels = state.withLock { $0.listeners + $0.joined + $0.held }
        for channel in channels { channel.close(promise: nil) }
    }

    // MARK: Connections

    private func apply(_ cut: Cut, to channel: any Channel) {
        switch cut {
        case .closed: channel.close(promise: nil)
        case .silent: channel.setOption(.autoRead, value: false).whenFailure { _ in }
        }
    }

    private func accept(_ near: any Channel, door: Int) {
        let target: LinkAddress? = state.withLock { state in
            guard state.cut != .silent else {
                state.held.append(near)
                return nil
            }
            guard state.cut == nil, let target = state.targets[door] else {
                near.close(promise: nil)
                return nil
            }
            return target
        }
        guard let target else { return }
        ClientBootstrap(group: near.eventLoop)
            .channelOption(.autoRead, value: false)
            .connect(host: target.host, port: Int(target.port))
            .flatMapThrowing { try self.join(near, $0) }
            .whenFailure { _ in near.close(promise: nil) }
    }

    /// Both are on the same loop.
    private func join(_ near: any Channel, _ far: any Channel) throws {
        for (from, to) in [(near, far), (far, near)] {
            let passing = Passing(to: to) { self.passed($0) }
            try from.pipeline.syncOperations.addHandler(passing)
            from.closeFuture.whenComplete { _ in
                to.close(promise: nil)
                self.state.withLock { $0.joined.removeAll { $0 === from } }
            }
        }
        let cut = state.withLock { state in
            state.joined += [near, far]
            return state.cut
        }
        for channel in [near, far] {
            if let cut { apply(cut, to: channel) } else { try channel.syncOptions?.setOption(.autoRead, value: true) }
        }
    }

    private func passed(_ byteCount: Int) {
        let due: Cut? = state.withLock { state in
            guard let awaited = state.awaited else { return nil }
            let left = awaited.byteCount - byteCount
            state.awaited = left > 0 ? (awaited.cut, left) : nil
            return left > 0 ? nil : awaited.cut
        }
        if let due { cut(due) }
    }

    /// Hands on what comes to the other side's channel.
    private final class Passing: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let other: any Channel
        private let onBytes: (Int) -> Void

        init(to other: any Channel, onBytes: @escaping (Int) -> Void) {
            self.other = other
            self.onBytes = onBytes
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = Self.unwrapInboundIn(data)
            onBytes(buffer.readableBytes)
            other.writeAndFlush(buffer, promise: nil)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
