internal import NIOCore
internal import NIOPosix
internal import ShoalCore
internal import ShoalTrust
internal import ShoalWire

/// Carries out a `LinkOpening` on a connection, then leaves the connection paused for its owner.
///
/// Everything runs on the connection's event loop, but what may wait for the disk. It ends exactly once: with what was
/// opened, or with the reason why nothing was, and then the connection is closed.
final class HelloExchange: FrameReceiver {
    typealias Outcome = Result<LinkOpening.Opened, ShoalError>

    private struct State {
        var opening: LinkOpening
        var deadline: Scheduled<Void>?
        var onEnd: (@Sendable (Outcome) -> Void)?
    }

    private let security: LinkSecurity
    private let hello: @Sendable () -> LinkHello
    private let joining: PendingAdmission?
    private let state: NIOLoopBoundBox<State>

    private init(
        _ goal: LinkOpening.Goal, _ security: LinkSecurity, joining: PendingAdmission?,
        hello: @escaping @Sendable () -> LinkHello, eventLoop: any EventLoop,
        onEnd: @escaping @Sendable (Outcome) -> Void
    ) {
        self.security = security
        self.hello = hello
        self.joining = joining
        state = NIOLoopBoundBox(
            State(opening: LinkOpening(goal), deadline: nil, onEnd: onEnd), eventLoop: eventLoop)
    }

    /// On the loop of a connection with TLS. `joining` is for that goal. `onEnd` is called on the loop too.
    static func begin(
        _ goal: LinkOpening.Goal, on connection: FrameConnection, security: LinkSecurity,
        joining: PendingAdmission? = nil, hello: @escaping @Sendable () -> LinkHello, deadline: Duration,
        onEnd: @escaping @Sendable (Outcome) -> Void
    ) {
        let exchange = HelloExchange(
            goal, security, joining: joining, hello: hello, eventLoop: connection.eventLoop, onEnd: onEnd)
        connection.setLimits(.hello)
        exchange.state.value.deadline = connection.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(deadline)) {
            let error = ShoalError(.timedOut, "\(connection.peerDescription) sent no hello within \(deadline)")
            exchange.perform({ $0.failed(error) }, on: connection)
        }
        connection.start(exchange)
        // A failed handshake closes the connection, which is reported by `closed`.
        connection.provenPeer?.whenSuccess { peer in exchange.secured(peer, on: connection) }
    }

    private func secured(_ peer: NodeID, on connection: FrameConnection) {
        security.register(connection, with: peer)
        let goal = state.value.opening.goal
        // The issuer of an invite is known by its key, and answers with a list.
        if goal == .join { connection.setLimits(.standard) }
        let pending = goal == .dial ? security.trust.request(to: peer) : joining
        let isMember = security.trust.isMember(peer)
        perform({ $0.secured(peer: peer, isMember: isMember, pending: pending) }, on: connection)
    }

    func received(_ frame: Frame, on connection: FrameConnection) {
        do throws(ShoalError) {
            switch frame.kind {
            case .hello:
                let hello = try FrameJSON.decode(LinkHello.self, from: frame.description)
                perform({ $0.received(hello) }, on: connection)
            case .admission:
                let message = try FrameJSON.decode(AdmissionMessage.self, from: frame.description)
                perform({ $0.received(message) }, on: connection)
            default:
                perform({ $0.unexpected("a \(frame.kind)") }, on: connection)
            }
        } catch {
            perform({ $0.failed(error) }, on: connection)
        }
    }

    func closed(_ connection: FrameConnection, because error: ShoalError?) {
        let wasSilent = error == nil || error?.code == .linkLost
        if wasSilent, state.value.opening.hasGranted { return end(.success(.joined)) }
        let meaning = wasSilent ? state.value.opening.meaningOfSilence : nil
        end(.failure(meaning ?? error ?? ShoalError(.cancelled, "the link was closed before the hello")))
    }

    // MARK: What the opening wants

    private func perform(_ step: (inout LinkOpening) -> [LinkOpening.Action], on connection: FrameConnection) {
        for action in step(&state.value.opening) { perform(action, on: connection) }
    }

    private func perform(_ action: LinkOpening.Action, on connection: FrameConnection) {
        switch action {
        case .trustPeer: connection.trustPeer()
        case .sendHello(let theirs): sendHello(answering: theirs, on: connection)
        case .send(let message): send(.admission, message, on: connection)
        case .judge(let request): judge(request, on: connection)
        case .accept(let grant, let pending): accept(grant, pending, on: connection)
        case .finish(let opened):
            connection.pause(limits: .standard)
            end(.success(opened))
        case .fail(let error):
            // Who may not be here is told that, not from which port it came.
            let reason =
                error.code == .notAMember ? error : error.during("the link to \(connection.peerDescription)")
            end(.failure(reason))
            connection.close(because: reason)
        }
    }

    private func sendHello(answering theirs: LinkHello?, on connection: FrameConnection) {
        let ours = hello()
        send(.hello, theirs.map { ours.with(purpose: $0.purpose) } ?? ours, on: connection)
    }

    private func send(_ kind: FrameKind, _ message: some Encodable, on connection: FrameConnection) {
        do throws(ShoalError) {
            connection.send(Frame(kind: kind, description: try FrameJSON.encode(message)))
        } catch {
            perform({ $0.failed(error) }, on: connection)
        }
    }

    private func judge(_ request: AdmissionRequest, on connection: FrameConnection) {
        guard let peer = state.value.opening.peer else { return }
        offLoop(connection) { [security] in
            security.trust.judge(request, from: peer, now: security.unixSeconds())
        } then: { [self] verdict in
            perform({ $0.judged(verdict) }, on: connection)
        }
    }

    private func accept(_ grant: AdmissionGrant, _ pending: PendingAdmission, on connection: FrameConnection) {
        guard let peer = state.value.opening.peer else { return }
        offLoop(connection) { [security] () -> ShoalError? in
            do throws(ShoalError) {
                try security.trust.accept(grant, for: pending, from: peer, now: security.unixSeconds())
                return nil
            } catch {
                return error
            }
        } then: { [self] error in
            perform({ $0.accepted(error) }, on: connection)
        }
    }

    /// Trust is stored on disk, which the event loop must not wait for.
    private func offLoop<Value: Sendable>(
        _ connection: FrameConnection, _ body: @escaping @Sendable () -> Value,
        then next: @escaping @Sendable (Value) -> Void
    ) {
        NIOThreadPool.singleton.runIfActive(eventLoop: connection.eventLoop, body).whenSuccess(next)
    }

    private func end(_ outcome: Outcome) {
        state.value.deadline?.cancel()
        let onEnd = state.value.onEnd
        state.value.deadline = nil
        state.value.onEnd = nil
        onEnd?(outcome)
    }
}
