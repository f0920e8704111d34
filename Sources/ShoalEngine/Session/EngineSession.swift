internal import NIOCore
package import ShoalCore
package import ShoalLinks
package import ShoalWire

/// The node's end of the conversation with one engine: matches replies to requests and hands on the rest.
///
/// Requests fail with the cause of death when the engine is gone, so `describeEnd` may take a moment to find it out.
package final class EngineSession: FrameReceiver {
    /// What to tell when the connection has closed; nil when the end was asked for.
    package typealias DescribeEnd = @Sendable () async -> ShoalError?

    private static let pendingRequestCountMax = 1024
    /// Far above the numbers that `RequestTable` counts up from zero.
    private static let firstPostNumber: UInt64 = 1 << 63

    package let connection: FrameConnection
    private let receiver: any FrameReceiver
    private let onLoadProgress: @Sendable (Double) -> Void
    private let describeEnd: DescribeEnd
    private let started = PendingReply<EngineBuild>()
    private let ended = OneTimeSignal()
    private let state: NIOLoopBoundBox<State>

    private struct State {
        var requests = RequestTable<EngineReply>(countMax: EngineSession.pendingRequestCountMax)
        var load: (number: UInt64, deadline: Duration)?
        /// Requests that nobody waits for, by number; those count from `firstPostNumber`.
        var posted: [UInt64: @Sendable (ShoalError) -> Void] = [:]
        var nextPostNumber = EngineSession.firstPostNumber
    }

    package init(
        connection: FrameConnection, receiver: any FrameReceiver,
        onLoadProgress: @escaping @Sendable (Double) -> Void, describeEnd: @escaping DescribeEnd
    ) {
        self.connection = connection
        self.receiver = receiver
        self.onLoadProgress = onLoadProgress
        self.describeEnd = describeEnd
        state = NIOLoopBoundBox.makeBoxSendingValue(State(), eventLoop: connection.eventLoop)
    }

    /// Begins to read and waits for the engine's first event. Throws `timedOut`, `engineLost`, `protocolViolation`.
    package func start(deadline: Duration) async throws(ShoalError) -> EngineBuild {
        let expiry = connection.eventLoop.scheduleTask(in: TimeAmount(deadline)) { [started] in
            started.resolve(.failure(ShoalError(.timedOut, "the engine did not start within \(deadline)")))
        }
        connection.start(self)
        let build = try await started.wait()
        expiry.cancel()
        guard build.protocolNumber == ShoalVersion.protocolNumber else {
            throw ShoalError(
                .engineLost,
                "the engine program is of Shoal \(build.shoalVersion) (protocol \(build.protocolNumber)), this node of "
                    + "\(ShoalVersion.current) (protocol \(ShoalVersion.protocolNumber)); install both from one build")
        }
        return build
    }

    /// See `EngineHandle.request`.
    package func request(_ request: EngineRequest, deadline: Duration) async throws(ShoalError) -> EngineReply {
        let description = try FrameJSON.encode(request)
        let isLoad = if case .load = request { true } else { false }
        let pending = PendingReply<EngineReply>()
        connection.eventLoop.execute { [self] in
            let number = state.value.requests.add(pending) { number in expire(number, after: deadline) }
            guard let number else { return }
            if isLoad { state.value.load = (number, deadline) }
            connection.send(Frame(kind: .engineRequest, number: number, description: description))
        }
        let reply: EngineReply
        do throws(ShoalError) {
            reply = try await pending.wait()
        } catch {
            if error.code == .cancelled {
                connection.eventLoop.execute { [self] in state.value.requests.forget(pending) }
            }
            throw error
        }
        if case .failed(let error) = reply { throw error }
        return reply
    }

    /// See `EngineHandle.post`.
    package func post(_ request: EngineRequest, onFailure: @escaping @Sendable (ShoalError) -> Void) {
        guard state.value.posted.count < Self.pendingRequestCountMax else {
            let reason = "\(Self.pendingRequestCountMax) requests wait for the engine already"
            return onFailure(ShoalError(.overloaded, reason))
        }
        do throws(ShoalError) {
            let description = try FrameJSON.encode(request)
            let number = state.value.nextPostNumber
            state.value.nextPostNumber += 1
            state.value.posted[number] = onFailure
            connection.send(Frame(kind: .engineRequest, number: number, description: description))
        } catch {
            onFailure(error)
        }
    }

    /// Returns when the connection has closed and the receiver has heard of it. Only useful after a close.
    package func waitForEnd() async { await ended.wait() }

    package func received(_ frame: Frame, on connection: FrameConnection) {
        do throws(ShoalError) {
            switch frame.kind {
            case .engineReply: try received(reply: frame)
            case .engineEvent: received(try FrameJSON.decode(EngineEvent.self, from: frame.description))
            default: receiver.received(frame, on: connection)
            }
        } catch {
            connection.close(because: error.during("the engine"))
        }
    }

    package func writabilityChanged(_ isWritable: Bool, on connection: FrameConnection) {
        receiver.writabilityChanged(isWritable, on: connection)
    }

    package func closed(_ connection: FrameConnection, because error: ShoalError?) {
        // Ends by itself: `describeEnd` is bounded by the grace that a dying engine gets.
        Task { [self] in
            let cause = await describeEnd()
            connection.eventLoop.execute { [self] in
                let reason = cause ?? ShoalError(.engineLost, "the engine was stopped")
                started.resolve(.failure(reason))
                state.value.requests.close(because: reason)
                state.value.posted = [:]
                receiver.closed(connection, because: cause)
                ended.give()
            }
        }
    }

    private func received(reply frame: Frame) throws(ShoalError) {
        let reply = try FrameJSON.decode(EngineReply.self, from: frame.description)
        if let onFailure = state.value.posted.removeValue(forKey: frame.number) {
            if case .failed(let error) = reply { onFailure(error) }
            return
        }
        if state.value.load?.number == frame.number { state.value.load = nil }
        // A reply that nobody waits for any more is a legitimate race with the deadline.
        state.value.requests.resolve(frame.number, .success(reply))
    }

    private func received(_ event: EngineEvent) {
        switch event {
        case .started(let build): started.resolve(.success(build))
        case .loadProgress(let share):
            if let load = state.value.load {
                state.value.requests.extend(load.number) { number in expire(number, after: load.deadline) }
            }
            onLoadProgress(min(max(share, 0), 1))
        }
    }

    private func expire(_ number: UInt64, after deadline: Duration) -> Scheduled<Void> {
        connection.eventLoop.scheduleTask(in: TimeAmount(deadline)) { [self] in
            let error = ShoalError(.timedOut, "the engine did not answer within \(deadline)")
            state.value.requests.resolve(number, .failure(error))
        }
    }
}
