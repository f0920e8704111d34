package import NIOCore
package import ShoalCore
package import ShoalWire
internal import Synchronization

/// Requests, one-way events and heartbeats between two nodes, over a connection whose hellos said `control`.
package final class ControlLink: Sendable {
    package let peer: LinkHello
    package let connection: FrameConnection
    private let configuration: LinkConfiguration
    private let handler: any ControlLinkHandler
    private let state: NIOLoopBoundBox<State>
    private let roundTripStorage = Mutex<Duration?>(nil)

    private struct State {
        var requests: RequestTable<ByteBuffer>
        var answering: [UInt64: Task<Void, Never>] = [:]
        var health: LinkHealth
        var heartbeat: RepeatedTask?
        var isClosed = false
    }

    /// `connection` comes from `LinkDialer.dial` or a listener's `onLink`. Nothing happens until `start`.
    package init(
        connection: FrameConnection, peer: LinkHello, handler: any ControlLinkHandler,
        configuration: LinkConfiguration = LinkConfiguration()
    ) {
        self.connection = connection
        self.peer = peer
        self.handler = handler
        self.configuration = configuration
        let state = State(
            requests: RequestTable(countMax: configuration.pendingRequestCountMax),
            health: LinkHealth(silenceMax: configuration.silenceMax, now: Self.now()))
        self.state = NIOLoopBoundBox.makeBoxSendingValue(state, eventLoop: connection.eventLoop)
    }

    /// Begins to read and to send heartbeats. Call it once; any thread.
    package func start() {
        connection.eventLoop.execute { [self] in
            state.value.health.heard(now: Self.now())
            let interval = TimeAmount(configuration.heartbeatInterval)
            state.value.heartbeat = connection.eventLoop.scheduleRepeatedTask(
                initialDelay: interval, delay: interval
            ) { [self] _ in tick() }
            connection.start(self)
        }
    }

    /// Smoothed time to the peer and back; nil before the first answer. Any thread.
    package var roundTrip: Duration? { roundTripStorage.withLock { $0 } }

    /// Asks the peer and waits for its answer.
    ///
    /// Throws what the peer threw, `timedOut` after `deadline`, `linkLost` when the link closes first, `cancelled` when
    /// the calling task is cancelled, `overloaded` when too many requests wait.
    package func request(_ description: ByteBuffer, deadline: Duration) async throws(ShoalError) -> ByteBuffer {
        let pending = PendingReply<ByteBuffer>()
        connection.eventLoop.execute { [self] in
            let number = state.value.requests.add(pending) { number in expire(number, after: deadline) }
            guard let number else { return }
            connection.send(Frame(kind: .controlRequest, number: number, description: description))
        }
        do throws(ShoalError) {
            return try await pending.wait()
        } catch {
            if error.code == .cancelled {
                connection.eventLoop.execute { [self] in state.value.requests.forget(pending) }
            }
            throw error
        }
    }

    /// Whether neither side waits for an answer. Any thread; out of date when it is read.
    package var isIdle: Bool {
        get async {
            await withCheckedContinuation { continuation in
                connection.eventLoop.execute { [self] in
                    let state = state.value
                    continuation.resume(returning: state.requests.count == 0 && state.answering.isEmpty)
                }
            }
        }
    }

    /// Sends a one-way message. Any thread; one caller's events keep their order. Lost when the link closes.
    package func sendEvent(_ description: ByteBuffer) {
        connection.send(Frame(kind: .controlEvent, description: description))
    }

    /// Closes, telling the peer why. Any thread.
    package func close(because error: ShoalError?) { connection.close(because: error) }

    private func expire(_ number: UInt64, after deadline: Duration) -> Scheduled<Void> {
        connection.eventLoop.scheduleTask(in: TimeAmount(deadline)) { [self] in
            let reason = "node \(peer.nodeName) did not answer within \(deadline)"
            state.value.requests.resolve(number, .failure(ShoalError(.timedOut, reason)))
        }
    }

    // MARK: Heartbeat, on the loop

    private func tick() {
        switch state.value.health.tick(now: Self.now()) {
        case .sendPing(let number): connection.send(Frame(kind: .ping, number: number))
        case .close(let error): connection.close(because: error.during("the link to node \(peer.nodeName)"))
        }
    }

    private func pong(_ number: UInt64) {
        state.value.health.pong(number: number, now: Self.now())
        let roundTrip = state.value.health.roundTrip
        roundTripStorage.withLock { $0 = roundTrip }
    }

    private static func now() -> Duration { .nanoseconds(Int64(clamping: NIODeadline.now().uptimeNanoseconds)) }

    // MARK: The peer's requests, on the loop

    private func answer(_ frame: Frame) {
        let number = frame.number
        guard state.value.answering.count < configuration.requestsInProgressMax else {
            let reason = "node is answering \(configuration.requestsInProgressMax) requests already; try later"
            return reply(number, .failure(ShoalError(.overloaded, reason)))
        }
        guard state.value.answering[number] == nil else {
            return connection.close(
                because: ShoalError(.protocolViolation, "request \(number) came again before it was answered"))
        }
        // Cancelled by `closed`; ends by itself with its answer.
        state.value.answering[number] = Task { [self] in
            let result: Result<ByteBuffer, ShoalError>
            do throws(ShoalError) {
                result = .success(try await handler.answer(frame.description, from: self))
            } catch {
                result = .failure(error)
            }
            connection.eventLoop.execute { [self] in
                state.value.answering[number] = nil
                reply(number, result)
            }
        }
    }

    private func reply(_ number: UInt64, _ result: Result<ByteBuffer, ShoalError>) {
        switch result {
        case .success(let description):
            connection.send(Frame(kind: .controlReply, number: number, description: description))
        case .failure(let error):
            // A `ShoalError` is two strings: it can always be written as JSON, up to the size limit.
            let description = (try? FrameJSON.encode(error)) ?? ByteBuffer()
            connection.send(Frame(kind: .controlReply, flags: .failed, number: number, description: description))
        }
    }

    private func result(of frame: Frame) -> Result<ByteBuffer, ShoalError> {
        guard frame.flags.contains(.failed) else { return .success(frame.description) }
        do throws(ShoalError) {
            return .failure(try FrameJSON.decode(ShoalError.self, from: frame.description))
        } catch {
            return .failure(error)
        }
    }
}

extension ControlLink: FrameReceiver {
    package func received(_ frame: Frame, on connection: FrameConnection) {
        state.value.health.heard(now: Self.now())
        switch frame.kind {
        case .ping: connection.send(Frame(kind: .pong, number: frame.number))
        case .pong: pong(frame.number)
        case .controlRequest: answer(frame)
        // A reply that nobody waits for any more is a legitimate race with the deadline.
        case .controlReply: state.value.requests.resolve(frame.number, result(of: frame))
        case .controlEvent: handler.received(event: frame.description, from: self)
        case .microBatch, .outputs, .microBatchFailed, .engineRequest, .engineReply, .engineEvent, .hello, .goodbye,
            .admission:
            connection.close(
                because: ShoalError(.protocolViolation, "a \(frame.kind) frame does not belong on a control link"))
        }
    }

    package func closed(_ connection: FrameConnection, because error: ShoalError?) {
        guard !state.value.isClosed else { return }
        state.value.isClosed = true
        state.value.heartbeat?.cancel()
        state.value.heartbeat = nil
        for task in state.value.answering.values { task.cancel() }
        state.value.answering = [:]
        let reason = "the link to node \(peer.nodeName) closed\(error.map { ": \($0.message)" } ?? "")"
        state.value.requests.close(because: ShoalError(.linkLost, reason))
        handler.closed(self, because: error)
    }
}
