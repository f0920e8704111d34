import NIOCore
import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalModel
import ShoalScheduling
import ShoalWire

/// Frames to the first stage and from the last one.
extension HeadService {
    /// Numbers that no scheduled micro-batch reaches.
    private static let warmUpBatchNumber = UInt64.max - 1
    private static let warmUpClearNumber = UInt64.max
    private static let warmUpSequence = SequenceID(rawValue: 0)

    /// Connects the stages for `generation` and sends one token through all of them.
    func warmUp(_ generation: UInt32) async {
        do throws(ShoalError) {
            try await connectStages(generation)
            guard generation == lifecycle.generation else { return }
            makeScheduler()
            post(.configureSampler(Self.warmUpSequence, .greedy, SamplerHistory())) { head, error in
                head.perform(head.lifecycle.warmUpFailed(generation: generation, error: error, now: head.now))
            }
            let entry = BatchEntry(
                sequence: Self.warmUpSequence, position: 0, token: TokenID(rawValue: 0), wantsOutput: true)
            try send(MicroBatch(number: Self.warmUpBatchNumber, entries: [entry]))
            try send(MicroBatch(number: Self.warmUpClearNumber, kvOperations: [.clear], entries: []))
        } catch {
            perform(lifecycle.warmUpFailed(generation: generation, error: error, now: now))
        }
    }

    private func connectStages(_ generation: UInt32) async throws(ShoalError) {
        guard let stage = await node.stages[order.id] else {
            throw ShoalError(.internal, "the head's own stage is not loaded")
        }
        lastStage = stage
        await stage.deliverOutputs { [weak self] frame in self?.assumeIsolated { $0.receive(frame) } }
        closeFirstStageLink()
        guard order.stages.count > 1 else { return }
        // All at once: each connection takes several round trips.
        async let problem = problemConnectingStages(generation)
        let link = try await node.dialStage(
            on: order.stages[0].node, instance: order.id, generation: generation, boundary: 0)
        if let problem = await problem {
            link.close(because: nil)
            throw problem
        }
        guard generation == lifecycle.generation else { return link.close(because: nil) }
        firstStageLink = link
        link.start(FirstStageLinkReceiver(head: self, generation: generation))
        startPings()
    }

    /// Tells every stage to connect with the next one; nil when all have.
    private func problemConnectingStages(_ generation: UInt32) async -> ShoalError? {
        let limits = node.configuration.limits
        return await withTaskGroup(of: ShoalError?.self) { [node, order] group in
            for stage in order.stages.dropLast() {
                group.addTask {
                    do throws(ShoalError) {
                        _ = try await node.ask(
                            stage.node, .connectStage(order.id, generation: generation),
                            deadline: limits.requestDeadline)
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            return await group.reduce(nil) { $0 ?? $1 }
        }
    }

    private func makeScheduler() {
        guard scheduler == nil else { return }
        let limits = node.configuration.limits
        var configuration = HeadSchedulerConfiguration(
            headName: node.configuration.name, contextTokenCount: order.contextTokenCount,
            sequenceCountMax: order.sequenceCountMax)
        configuration.microBatchTokenCountMax = limits.microBatchTokenCountMax
        configuration.promptChunkTokenCountMax = limits.promptChunkTokenCountMax
        configuration.stageCount = order.stages.count
        configuration.microBatchesInFlightMax = limits.microBatchesInFlightMax
        configuration.outputCountMax = GraphLoad.outputCountMax(
            tokenCount: limits.microBatchTokenCountMax, sequenceCount: order.sequenceCountMax)
        configuration.speculation = order.speculation
        configuration.vocabularyTokenCount = stageLoads.last??.vocabularyTokenCount ?? .max
        configuration.canRemovePartialSequences = stageLoads.allSatisfy { $0?.canRemovePartialSequences ?? true }
        scheduler = HeadScheduler(configuration: configuration)
        if draftLife.isReady { perform(scheduler?.draftReady(now: now) ?? []) }
    }

    /// Tells the last stage's engine something, in order with the micro-batches.
    func post(
        _ request: EngineRequest, onFailure: @escaping @Sendable (isolated HeadService, ShoalError) -> Void
    ) {
        lastStage?.assumeIsolated { stage in
            stage.post(request) { [weak self] error in self?.assumeIsolated { onFailure($0, error) } }
        }
    }

    func send(_ batch: MicroBatch) throws(ShoalError) {
        let sentAt = now
        let frame = try MicroBatchDescription(batch: batch, activations: nil)
            .frame(instance: order.id, generation: lifecycle.generation)
        if order.stages.count == 1 {
            lastStage?.assumeIsolated { $0.receiveFromUpstream(frame) }
        } else {
            firstStageLink?.send(frame)
        }
        // Behind what the first stage waits for; its outputs cannot be here yet.
        tracer.sending(batch, now: sentAt) { scheduler?.owner(of: $0) }
    }

    /// A frame of the last stage, on the data loop.
    func receive(_ frame: Frame) {
        guard frame.generation == lifecycle.generation else { return }
        do throws(ShoalError) {
            switch frame.kind {
            case .outputs: try receiveOutputs(frame)
            case .microBatchFailed:
                receiveFailure(frame, try FrameJSON.decode(ShoalError.self, from: frame.description))
            default: throw ShoalError(.protocolViolation, "the last stage sent a frame of kind \(frame.kind)")
            }
        } catch {
            perform(lifecycle.pipelineBroken(generation: frame.generation, error: error, now: now))
        }
    }

    private func receiveOutputs(_ frame: Frame) throws(ShoalError) {
        if frame.number == Self.warmUpBatchNumber { return }
        if frame.number == Self.warmUpClearNumber {
            post(.releaseSampler(Self.warmUpSequence)) { _, _ in }
            return perform(lifecycle.warmUpSucceeded(generation: frame.generation, now: now))
        }
        let outputs = try OutputsDescription(decoding: frame)
        let arrivedAt = now
        perform(
            scheduler?.outputsArrived(
                batchNumber: frame.number, generation: frame.generation, tokens: outputs.tokens, stages: outputs.stages,
                now: arrivedAt) ?? [])
        tracer.arrived(
            batchNumber: frame.number, tokens: outputs.tokens, stages: outputs.stages, now: arrivedAt)
    }

    private func receiveFailure(_ frame: Frame, _ error: ShoalError) {
        if frame.number >= Self.warmUpBatchNumber {
            perform(lifecycle.warmUpFailed(generation: frame.generation, error: error, now: now))
        } else {
            perform(
                scheduler?.batchFailed(
                    batchNumber: frame.number, generation: frame.generation, error: error, now: now) ?? [])
        }
    }

    func firstStageLinkClosed(generation: UInt32, because error: ShoalError?) {
        guard firstStageLink != nil, generation == lifecycle.generation else { return }
        firstStageLink = nil
        let cause = error ?? ShoalError(.linkLost, "it was closed")
        dataLinkLost(after: nil, generation: generation, error: cause)
    }
}

/// Watches the head's own link to stage 0, which only ever carries frames away from the head.
private final class FirstStageLinkReceiver: FrameReceiver {
    private let head: HeadService
    private let generation: UInt32

    init(head: HeadService, generation: UInt32) {
        self.head = head
        self.generation = generation
    }

    func received(_ frame: Frame, on connection: FrameConnection) {
        if frame.kind == .pong { return head.assumeIsolated { $0.firstLinkPonged(frame.number) } }
        connection.close(because: ShoalError(.protocolViolation, "stage 0 sent a frame to the head's data link"))
    }

    func writabilityChanged(_ isWritable: Bool, on connection: FrameConnection) {}

    func closed(_ connection: FrameConnection, because error: ShoalError?) {
        let generation = generation
        head.assumeIsolated { $0.firstStageLinkClosed(generation: generation, because: error) }
    }
}
