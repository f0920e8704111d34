internal import NIOCore
package import ShoalCore
package import ShoalEngine
package import ShoalLinks
package import ShoalWire

/// The engine's side of a fake: answers frames as `shoal-engine` would, and misbehaves on request.
///
/// The scripting methods return when they have taken effect.
package final class FakeEngine: Sendable {
    package let label: String
    /// Every micro-batch that came, in order, before it is computed.
    package let receivedBatches = EventRecorder<MicroBatch>()
    /// Every request that came, in order.
    package let receivedRequests = EventRecorder<EngineRequest>()
    let ended = EventRecorder<EngineExit>()
    private let connection: FrameConnection
    private let model: FakeModel
    private let state: NIOLoopBoundBox<State>

    private struct State {
        var stage: FakeStage?
        /// Micro-batches with this many entries or more are held; nil if none is.
        var heldEntryCountMin: Int?
        var held: [Frame] = []
        var holdsRequests = false
        var heldRequests: [(number: UInt64, request: EngineRequest)] = []
        var nextBatchFailure: ShoalError?
        var nextLoadFailure: ShoalError?
    }

    init(label: String, connection: FrameConnection, model: FakeModel, loadFailure: ShoalError?) {
        self.label = label
        self.connection = connection
        self.model = model
        state = NIOLoopBoundBox.makeBoxSendingValue(
            State(nextLoadFailure: loadFailure), eventLoop: connection.eventLoop)
    }

    func start(_ build: EngineBuild) {
        connection.start(self)
        sendJSON(.engineEvent, number: 0, EngineEvent.started(build))
    }

    /// Dies as a process would: the connection breaks, then `exit` is what is found out.
    package func die(_ exit: EngineExit = EngineExit(cause: .signal(9), wasRequested: false)) {
        guard ended.events.isEmpty else { return }
        ended.record(exit)
        connection.close(because: nil)
    }

    /// Keeps micro-batches until `releaseBatches`. With `entryCountMin` 2, a warm-up passes.
    package func holdBatches(entryCountMin: Int = 0) async throws {
        try await onLoop { $0.heldEntryCountMin = entryCountMin }
    }

    package func releaseBatches() async throws {
        let held = try await connection.eventLoop.submit { [self] in
            defer { state.value.held = [] }
            state.value.heldEntryCountMin = nil
            return state.value.held
        }.get()
        try await connection.eventLoop.submit { [self] in held.forEach(compute) }.get()
    }

    /// Keeps requests, once recorded, until `releaseRequests`.
    package func holdRequests() async throws { try await onLoop { $0.holdsRequests = true } }

    package func releaseRequests() async throws {
        try await connection.eventLoop.submit { [self] in
            let held = state.value.heldRequests
            state.value.heldRequests = []
            state.value.holdsRequests = false
            for (number, request) in held { answer(request, number: number) }
        }.get()
    }

    package func failNextBatch(_ error: ShoalError) async throws { try await onLoop { $0.nextBatchFailure = error } }

    package func failNextLoad(_ error: ShoalError) async throws { try await onLoop { $0.nextLoadFailure = error } }

    /// What it holds; nil before `load`.
    package func status() async throws -> StageStatus? {
        try await connection.eventLoop.submit { [self] in state.value.stage?.status }.get()
    }

    private func onLoop(_ body: @escaping @Sendable (inout State) -> Void) async throws {
        try await connection.eventLoop.submit { [self] in body(&state.value) }.get()
    }

    // MARK: Micro-batches, on the loop

    private func received(batch frame: Frame) {
        let batch = (try? MicroBatchDescription(decoding: frame))?.batch
        if let batch { receivedBatches.record(batch) }
        if let countMin = state.value.heldEntryCountMin, (batch?.entries.count ?? 0) >= countMin {
            return state.value.held.append(frame)
        }
        compute(frame)
    }

    private func compute(_ frame: Frame) {
        do throws(ShoalError) {
            connection.send(try answer(to: frame))
        } catch {
            sendJSON(.microBatchFailed, number: frame.number, error, like: frame)
        }
    }

    private func answer(to frame: Frame) throws(ShoalError) -> Frame {
        if let failure = state.value.nextBatchFailure {
            state.value.nextBatchFailure = nil
            throw failure
        }
        guard var stage = state.value.stage else {
            throw ShoalError(.invalidRequest, "a micro-batch came before the stage was loaded")
        }
        let description = try MicroBatchDescription(decoding: frame)
        let answer = try stage.compute(
            description, payload: frame.payload, wantsLogits: frame.flags.contains(.wantsLogits))
        // Every micro-batch takes a microsecond here.
        let stages = description.stages + [StageTimes(compute: 1)]
        state.value.stage = stage
        switch answer {
        case .forward(var description, let payload):
            description.stages = stages
            return try description.frame(
                flags: frame.flags, instance: frame.instance, generation: frame.generation, payload: payload)
        case .outputs(var description, let payload):
            description.stages = stages
            return try description.frame(
                number: frame.number, instance: frame.instance, generation: frame.generation, payload: payload)
        }
    }

    // MARK: Requests, on the loop

    private func received(request frame: Frame) {
        do throws(ShoalError) {
            let request = try FrameJSON.decode(EngineRequest.self, from: frame.description)
            receivedRequests.record(request)
            guard !state.value.holdsRequests else { return state.value.heldRequests.append((frame.number, request)) }
            answer(request, number: frame.number)
        } catch {
            sendJSON(.engineReply, number: frame.number, EngineReply.failed(error))
        }
    }

    private func answer(_ request: EngineRequest, number: UInt64) {
        do throws(ShoalError) {
            sendJSON(.engineReply, number: number, try reply(to: request))
        } catch {
            sendJSON(.engineReply, number: number, EngineReply.failed(error))
        }
    }

    private func reply(to request: EngineRequest) throws(ShoalError) -> EngineReply {
        switch request {
        case .load(let request): return .loaded(try load(request))
        case .configureSampler(let sequence, let parameters, _):
            state.value.stage?.configureSampler(sequence, parameters)
            return .done
        case .releaseSampler(let sequence):
            state.value.stage?.releaseSampler(sequence)
            return .done
        case .reset:
            state.value.stage?.reset()
            return .done
        case .status:
            guard let stage = state.value.stage else { throw ShoalError(.unavailable, "no stage is loaded") }
            return .status(stage.status)
        case .measureSpeed(let threadCount): return .speed(.fake(threadCount: threadCount))
        case .tokenize(let text, let addSpecial, _): return .tokens(model.tokenize(text, addSpecial: addSpecial))
        case .pieces(let tokens): return .pieces(tokens.map(model.piece(of:)))
        case .renderChat(let messages): return .text(model.renderChat(messages))
        case .grammar: return .text("root ::= [a-z ]*")
        }
    }

    private func load(_ request: StageLoadRequest) throws(ShoalError) -> StageLoaded {
        if let failure = state.value.nextLoadFailure {
            state.value.nextLoadFailure = nil
            throw failure
        }
        sendJSON(.engineEvent, number: 0, EngineEvent.loadProgress(0.5))
        let stage = try FakeStage(model: model, request: request)
        state.value.stage = stage
        sendJSON(.engineEvent, number: 0, EngineEvent.loadProgress(1))
        return stage.loaded
    }

    private func sendJSON(_ kind: FrameKind, number: UInt64, _ value: some Encodable, like frame: Frame? = nil) {
        guard let description = try? FrameJSON.encode(value) else {
            preconditionFailure("a fake's messages can always be written as JSON")
        }
        connection.send(
            Frame(
                kind: kind, instance: frame?.instance ?? InstanceID(rawValue: 0), generation: frame?.generation ?? 0,
                number: number, description: description))
    }
}

extension NodeSpeed {
    /// Equal on all nodes with fake engines.
    package static func fake(threadCount: Int) -> NodeSpeed {
        NodeSpeed(
            engineBuild: "fake", device: "fake", threadCount: threadCount,
            matrices: ["q8_0": Matrix(secondsPerByte: 1e-10, secondsPerElementAndToken: 1e-11)],
            attentionSecondsPerElement: 1e-10, promptAttentionSecondsPerElement: 1e-10,
            activationSecondsPerElement: 1e-9, secondsPerOperation: 1e-6, memoryBytesPerSecond: 1e10)
    }
}

extension FakeEngine: FrameReceiver {
    package func received(_ frame: Frame, on connection: FrameConnection) {
        switch frame.kind {
        case .engineRequest: received(request: frame)
        case .microBatch: received(batch: frame)
        default:
            connection.close(because: ShoalError(.protocolViolation, "a \(frame.kind) frame came to a fake engine"))
        }
    }

    package func closed(_ connection: FrameConnection, because error: ShoalError?) {
        guard ended.events.isEmpty else { return }
        ended.record(EngineExit(cause: .exited(code: 0), wasRequested: true))
    }
}
