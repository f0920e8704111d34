package import NIOCore
internal import NIOPosix
package import ShoalCore
package import ShoalLinks
internal import ShoalWire

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#elseif canImport(Darwin)
    internal import Darwin
#else
    #error("errno names are needed from the platform's C library")
#endif

/// What a single dial found.
package struct DialFinding: Hashable, Sendable {
    package var state: ReachState
    package var detail: String?

    package init(_ state: ReachState, detail: String? = nil) {
        self.state = state
        self.detail = detail
    }
}

/// Measures links: whether an address is open, and how well bytes travel on a connection.
package enum LinkProber {
    /// On one network, an answer that takes longer is none.
    package static let dialDeadline = Duration.milliseconds(1500)

    /// Dials `address` and closes at once. Says whether a program listens there, not who: an authenticated dial must
    /// follow before an address counts as the node's. `deadline`: TRANSPORT measurements, 1.5 s on a LAN, 4 s beyond.
    package static func dial(
        _ address: LinkAddress, eventLoop: any EventLoop, deadline: Duration = dialDeadline
    ) async -> DialFinding {
        do {
            let channel = try await ClientBootstrap(group: eventLoop)
                .connectTimeout(TimeAmount(deadline))
                .connect(host: address.host, port: Int(address.port)).get()
            // Closing a connection that the peer has closed already is what is wanted too.
            try? await channel.close()
            return DialFinding(.open)
        } catch {
            return finding(for: error)
        }
    }

    /// Measures on a connection that carries nothing else and whose other end is a `ProbeResponder`, and closes it.
    /// Throws `timedOut`, `linkLost`, `protocolViolation`.
    package static func measure(
        on connection: FrameConnection,
        configuration: ProbeConversation.Configuration = ProbeConversation.Configuration()
    ) async throws(ShoalError) -> LinkQuality {
        let outcome = await withCheckedContinuation { continuation in
            connection.eventLoop.execute {
                let run = ProbeRun(connection, configuration) { continuation.resume(returning: $0) }
                connection.start(run)
                run.start()
            }
        }
        return try outcome.get()
    }

    /// What an error of connecting means.
    static func finding(for error: any Error) -> DialFinding {
        switch error {
        case let error as NIOConnectionError:
            guard let cause = error.connectionErrors.first?.error else {
                return DialFinding(.unreachable, detail: "the name \(error.host) cannot be resolved")
            }
            return finding(for: cause)
        case ChannelError.connectTimeout: return DialFinding(.timedOut)
        case let error as IOError: return finding(forErrno: error.errnoCode)
        default: return DialFinding(.unreachable, detail: "\(error)")
        }
    }

    private static func finding(forErrno code: CInt) -> DialFinding {
        switch code {
        case ECONNREFUSED, ECONNRESET: DialFinding(.refused)
        case ETIMEDOUT: DialFinding(.timedOut)
        case ENETUNREACH: DialFinding(.unreachable, detail: "no route to that network")
        case EHOSTUNREACH: DialFinding(.unreachable, detail: "nobody in the network has that address")
        case EADDRNOTAVAIL: DialFinding(.unreachable, detail: "this machine has no address for that network")
        case EACCES, EPERM: DialFinding(.unreachable, detail: "this machine's own rules forbid it")
        default: DialFinding(.unreachable, detail: "errno \(code)")
        }
    }
}

/// One measurement on its connection's loop.
private final class ProbeRun: FrameReceiver {
    typealias OnEnd = @Sendable (Result<LinkQuality, ShoalError>) -> Void

    private struct State {
        var conversation: ProbeConversation
        var timer: Scheduled<Void>?
        var onEnd: OnEnd?
    }

    private let connection: FrameConnection
    private let startedAt = NIODeadline.now()
    private let state: NIOLoopBoundBox<State>
    /// Random, so that nothing on the way compresses it.
    private let chunk: ByteBuffer

    /// On the loop.
    init(_ connection: FrameConnection, _ configuration: ProbeConversation.Configuration, onEnd: @escaping OnEnd) {
        self.connection = connection
        state = NIOLoopBoundBox(
            State(
                conversation: ProbeConversation(configuration: configuration, now: .zero), timer: nil, onEnd: onEnd),
            eventLoop: connection.eventLoop)
        chunk = ByteBuffer(
            bytes: (0..<configuration.chunkByteCount).map { _ in UInt8.random(in: .min ... .max) })
    }

    private var now: Duration { .nanoseconds((NIODeadline.now() - startedAt).nanoseconds) }

    func start() { perform(state.value.conversation.start(now: now)) }

    func received(_ frame: Frame, on connection: FrameConnection) {
        guard frame.kind == .pong else {
            return end(.failure(ShoalError(.protocolViolation, "a \(frame.kind) frame answers a measurement")))
        }
        perform(state.value.conversation.answered(frame.number, now: now))
    }

    func closed(_ connection: FrameConnection, because error: ShoalError?) {
        end(.failure(error ?? ShoalError(.linkLost, "the connection closed in the middle of a measurement")))
    }

    private func perform(_ actions: [ProbeConversation.Action]) {
        for action in actions {
            switch action {
            case .send(let number, let byteCount):
                let payload = chunk.getSlice(at: chunk.readerIndex, length: byteCount) ?? ByteBuffer()
                connection.send(Frame(kind: .ping, number: number, payload: payload))
            case .finished(let quality): return end(.success(quality))
            case .failed(let error): return end(.failure(error))
            }
        }
        watch()
    }

    /// One timer at a time, moved when it fires, so that an answer costs none.
    private func watch() {
        guard state.value.timer == nil, state.value.onEnd != nil else { return }
        let pause = max(state.value.conversation.deadline - now, .milliseconds(1))
        state.value.timer = connection.eventLoop.scheduleTask(in: TimeAmount(pause)) { [self] in
            state.value.timer = nil
            perform(state.value.conversation.tick(now: now))
        }
    }

    private func end(_ result: Result<LinkQuality, ShoalError>) {
        guard let onEnd = state.value.onEnd else { return }
        state.value.onEnd = nil
        state.value.timer?.cancel()
        state.value.timer = nil
        connection.close(because: nil)
        onEnd(result)
    }
}
