internal import NIOCore
package import ShoalCore
package import ShoalLinks
package import ShoalWire

/// The node's end of the conversation with one engine: matches replies to requests and hands on the rest.
///
/// Text requests have a connection of their own, so that in the engine the thread that computes reads its work itself:
/// a thread that reads for it would cost every token a wake-up. The text connection ends with the other one; an engine
/// closes both, by ending.
///
/// Requests fail with the cause of death when the engine is gone, so `describeEnd` may take a moment to find it out.
package final class EngineSession: FrameReceiver {
    /// What to tell when the connection has closed; nil when the end was asked for.
    package typealias DescribeEnd = @Sendable () async -> ShoalError?

    private static let pendingRequestCountMax = 1024
    /// Far above the numbers that `RequestTable` counts up from zero.
    private static let firstPostNumber: UInt64 = 1 << 63

    package let connection: FrameConnection
    private let text: FrameConnection
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
        var watch: Watch?
    }

    /// Looks at the engine now and then, while it lives.
    private struct Watch {
        var watchdog: EngineWatchdog
        let pulse: @Sendable () -> EngineWatchdog.Pulse?
        let end: @Sendable (EngineExit.Cause) -> Void
        var timer: RepeatedTask?
        /// The status request that was sent last, and how many micro-batches went before it.
        var asked: (number: UInt64, sentCount: Int)?
        /// Micro-batches that must have been answered by now, whatever was counted.
        var settledCount = 0
    }

    /// Without `text`, text requests go the way of all others. Both connections are of one loop.
    package init(
        connection: FrameConnection, text: FrameConnection? = nil, receiver: any FrameReceiver,
        onLoadProgress: @escaping @Sendable (Double) -> Void, describeEnd: @escaping DescribeEnd
    ) {
        self.connection = connection
        self.text = text ?? connection
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
        if text !== connection { text.start(self) }
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
        let way = request.isAboutText ? text : connection
        let pending = PendingReply<EngineReply>()
        connection.eventLoop.execute { [self] in
            let number = state.value.requests.add(pending) { number in expire(number, after: deadline) }
            guard let number else { return }
            if isLoad { state.value.load = (number, deadline) }
            way.send(Frame(kind: .engineRequest, number: number, description: description))
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

    // MARK: Watching

    /// Begins to watch the engine's process and tells `end` why it is to be killed, if ever. After `start`.
    package func watch(
        _ configuration: EngineWatchdog.Configuration, pulse: @escaping @Sendable () -> EngineWatchdog.Pulse?,
        end: @escaping @Sendable (EngineExit.Cause) -> Void
    ) {
        let interval = TimeAmount(configuration.interval)
        connection.eventLoop.execute { [self] in
            state.value.watch = Watch(watchdog: EngineWatchdog(configuration), pulse: pulse, end: end)
            // Cancelled when the connection has closed.
            state.value.watch?.timer = connection.eventLoop.scheduleRepeatedTask(
                initialDelay: interval, delay: interval
            ) { [weak self] _ in self?.look() }
        }
    }

    private func look() {
        guard var watch = state.value.watch else { return }
        let hasWork =
            microBatchesInFlight > 0 || state.value.requests.count > 0 || !state.value.posted.isEmpty
        let verdict = watch.watchdog.look(hasWork: hasWork, pulse: hasWork ? watch.pulse() : nil, now: Self.uptime)
        state.value.watch = watch
        switch verdict {
        case .well: break
        case .ask: ask()
        case .hung(let how): watch.end(.hung(how))
        case .thrashing(let how): watch.end(.thrashing(how))
        }
    }

    /// The engine answers in order: what was sent before is settled when the answer is there.
    private func ask() {
        let sentCount = connection.counts.sent[.microBatch]?.frameCount ?? 0
        let number = state.value.nextPostNumber
        state.value.watch?.asked = (number, sentCount)
        post(.status) { _ in }
    }

    private var microBatchesInFlight: Int {
        let counts = connection.counts
        let sentCount = counts.sent[.microBatch]?.frameCount ?? 0
        let answeredCount = counts.received.reduce(0) { count, kind in
            kind.key == .engineReply || kind.key == .engineEvent ? count : count + kind.value.frameCount
        }
        return sentCount - max(answeredCount, state.value.watch?.settledCount ?? 0)
    }

    private static var uptime: Duration { .nanoseconds(Int64(clamping: NIODeadline.now().uptimeNanoseconds)) }

    // MARK: What the engine says

    package func received(_ frame: Frame, on connection: FrameConnection) {
        let now = Self.uptime
        state.value.watch?.watchdog.heard(now: now)
        do throws(ShoalError) {
            switch frame.kind {
            case .engineReply: try received(reply: frame)
            case .engineEvent: received(try FrameJSON.decode(EngineEvent.self, from: frame.description))
            default: receiver.received(frame, on: self.connection)
            }
        } catch {
            self.connection.close(because: error.during("the engine"))
        }
    }

    package func writabilityChanged(_ isWritable: Bool, on connection: FrameConnection) {
        guard connection === self.connection else { return }
        receiver.writabilityChanged(isWritable, on: connection)
    }

    package func closed(_ connection: FrameConnection, because error: ShoalError?) {
        guard connection === self.connection else { return textClosed(because: error) }
        if text !== connection { text.close(because: nil) }
        // Ends by itself: `describeEnd` is bounded by the grace that a dying engine gets.
        Task { [self] in
            let cause = await describeEnd()
            connection.eventLoop.execute { [self] in
                let reason = cause ?? ShoalError(.engineLost, "the engine was stopped")
                started.resolve(.failure(reason))
                state.value.requests.close(because: reason)
                state.value.posted = [:]
                state.value.watch?.timer?.cancel()
                state.value.watch = nil
                receiver.closed(connection, because: cause)
                ended.give()
            }
        }
    }

    /// An engine that ends closes both, and may have said something on the other one. One that breaks the protocol is
    /// of no use.
    private func textClosed(because error: ShoalError?) {
        guard let error, error.code == .protocolViolation else { return }
        connection.close(because: error)
    }

    private func received(reply frame: Frame) throws(ShoalError) {
        let reply = try FrameJSON.decode(EngineReply.self, from: frame.description)
        if let asked = state.value.watch?.asked, asked.number == frame.number {
            state.value.watch?.settledCount = asked.sentCount
            state.value.watch?.asked = nil
        }
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
