internal import NIOCore
internal import ShoalCore
internal import ShoalWire

/// The first frames of a link: takes the peer's hello, sends ours, then leaves the connection paused for its owner.
///
/// Everything runs on the connection's event loop. It ends exactly once: with the peer's hello, or with the reason why
/// there is none, and then the connection is closed.
final class HelloExchange: FrameReceiver {
    /// Whether our hello goes first, or answers the peer's: a listener says nothing to strangers.
    enum Side {
        case dialling(LinkHello)
        case listening(@Sendable () -> LinkHello)
    }

    typealias Outcome = Result<LinkHello, ShoalError>

    private struct State {
        var deadline: Scheduled<Void>?
        var onEnd: (@Sendable (Outcome) -> Void)?
    }

    private let side: Side
    private let state: NIOLoopBoundBox<State>

    private init(side: Side, eventLoop: any EventLoop, onEnd: @escaping @Sendable (Outcome) -> Void) {
        self.side = side
        state = NIOLoopBoundBox(State(deadline: nil, onEnd: onEnd), eventLoop: eventLoop)
    }

    /// On the connection's loop. `onEnd` is called on it too.
    static func begin(
        on connection: FrameConnection, side: Side, deadline: Duration, onEnd: @escaping @Sendable (Outcome) -> Void
    ) {
        let exchange = HelloExchange(side: side, eventLoop: connection.eventLoop, onEnd: onEnd)
        connection.setLimits(.hello)
        exchange.state.value.deadline = connection.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(deadline)) {
            exchange.fail(
                ShoalError(.timedOut, "\(connection.peerDescription) sent no hello within \(deadline)"), on: connection)
        }
        if case .dialling(let hello) = side { exchange.send(hello, on: connection) }
        connection.start(exchange)
    }

    func received(_ frame: Frame, on connection: FrameConnection) {
        do throws(ShoalError) {
            guard frame.kind == .hello else {
                throw ShoalError(.protocolViolation, "a \(frame.kind) frame came before the hello")
            }
            let hello = try FrameJSON.decode(LinkHello.self, from: frame.description)
            try hello.validate()
            if case .listening(let ours) = side { send(ours().with(purpose: hello.purpose), on: connection) }
            connection.pause(limits: .standard)
            end(.success(hello))
        } catch {
            fail(error.during("the link to \(connection.peerDescription)"), on: connection)
        }
    }

    func closed(_ connection: FrameConnection, because error: ShoalError?) {
        end(.failure(error ?? ShoalError(.cancelled, "the link was closed before the hello")))
    }

    private func send(_ hello: LinkHello, on connection: FrameConnection) {
        do throws(ShoalError) {
            connection.send(Frame(kind: .hello, description: try FrameJSON.encode(hello)))
        } catch {
            fail(error, on: connection)
        }
    }

    private func fail(_ error: ShoalError, on connection: FrameConnection) {
        end(.failure(error))
        connection.close(because: error)
    }

    private func end(_ outcome: Outcome) {
        state.value.deadline?.cancel()
        let onEnd = state.value.onEnd
        state.value = State(deadline: nil, onEnd: nil)
        onEnd?(outcome)
    }
}
