import Logging
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalScheduling
import ShoalWire

/// The draft model: an engine of its own on the head's node, which holds the whole of a small model as one stage.
///
/// Nothing waits for it. It is started beside the stages, and started again when it is lost; answers go on without.
extension HeadService {
    func startDraft() {
        guard order.draft != nil else { return }
        perform(draftLife.start())
    }

    /// Once a second: it may be time for another start.
    func tendDraft() {
        if let action = draftLife.tick(now: now) { perform(action) }
    }

    private func perform(_ action: DraftLife.Action) {
        switch action {
        case .launch(let number): run { await $0.launchDraft(number) }
        }
    }

    /// Ends the engine and returns when it is gone.
    func endDraft() async {
        draftLife.stop()
        scheduler?.draftLost()
        let host = draftHost
        draftHost = nil
        draftSnapshot = nil
        await host?.unload()
    }

    private func launchDraft(_ number: UInt32) async {
        guard let draft = order.draft, draftLife.isStarting(number) else { return }
        let host = draftHost ?? makeDraftHost()
        draftHost = host
        do throws(ShoalError) {
            var assignment = assignment(draft, number)
            assignment.load.path = try await node.models.path(
                of: draft.model, nodeName: node.configuration.name)
            let prepared = try await host.prepare(assignment)
            guard draftHost === host else { return await host.unload() }
            guard prepared.loaded.canRemovePartialSequences else {
                throw ShoalError(.invalidRequest, "\(draft.model.name) cannot take tokens back")
            }
            await host.deliverOutputs { [weak self] frame in self?.assumeIsolated { $0.receiveFromDraft(frame) } }
            draftLoaded = prepared.loaded
            draftLife.started(number, now: now)
            guard draftLife.isReady else { return }
            logger.info("draft model ready", metadata: ["model": "\(draft.model.name)"])
            perform(scheduler?.draftReady(now: now) ?? [])
        } catch {
            lostDraft(number, error)
        }
    }

    private func makeDraftHost() -> StageHost {
        StageHost(
            instance: order.id, eventLoop: eventLoop, launcher: node.launcher, logger: logger,
            dial: { _ throws(ShoalError) in throw ShoalError(.internal, "a draft model has one stage") },
            notify: { [weak self] notice in
                guard case .lost(let generation, let error) = notice else { return }
                self?.assumeIsolated { $0.lostDraft(generation, error) }
            })
    }

    private func assignment(_ draft: DraftOrder, _ number: UInt32) -> StageAssignment {
        var load = StageLoadRequest(path: draft.model.path, layers: draft.layers)
        load.contextTokenCount = order.contextTokenCount
        load.sequenceCountMax = order.sequenceCountMax
        load.microBatchTokenCountMax = HeadScheduler.draftBatchTokenCountMax
        load.threadCount = node.configuration.threadCount
        var model = draft.model
        // Names its log.
        model.name += "-draft"
        return StageAssignment(
            instance: order.id, generation: number, stageIndex: 0, stageCount: 1, model: model, load: load,
            head: node.id, downstream: nil)
    }

    /// It could not be started, or it ended.
    private func lostDraft(_ number: UInt32, _ error: ShoalError) {
        guard draftLife.failed(number, error, now: now) else { return }
        logger.warning("the draft model is lost, answers go on without", metadata: ["error": "\(error)"])
        draftSnapshot = nil
        scheduler?.draftLost()
    }

    // MARK: Frames

    func sendToDraft(_ batch: MicroBatch) {
        do throws(ShoalError) {
            let frame = try MicroBatchDescription(batch: batch, activations: nil)
                .frame(instance: order.id, generation: draftLife.number)
            draftHost?.assumeIsolated { $0.receiveFromUpstream(frame) }
        } catch {
            draftBroken(error)
        }
    }

    private func receiveFromDraft(_ frame: Frame) {
        guard frame.generation == draftLife.number, draftLife.isReady else { return }
        do throws(ShoalError) {
            switch frame.kind {
            case .outputs:
                let outputs = try OutputsDescription(decoding: frame)
                perform(
                    scheduler?.draftOutputsArrived(batchNumber: frame.number, tokens: outputs.tokens, now: now) ?? [])
            case .microBatchFailed:
                let error = try FrameJSON.decode(ShoalError.self, from: frame.description)
                perform(scheduler?.draftFailed(batchNumber: frame.number, error: error) ?? [])
            default: throw ShoalError(.protocolViolation, "the draft model's engine sent a frame of kind \(frame.kind)")
            }
        } catch {
            draftBroken(error)
        }
    }

    /// What it holds is not what was asked of it: it is reset, or started anew, after a pause.
    func draftBroken(_ error: ShoalError) { lostDraft(draftLife.number, error) }

    // MARK: Reports

    func draftLog() async -> EngineLogReport? { await draftHost?.log(nodeName: node.configuration.name) }

    func draftReport() -> DraftReport? {
        guard let draft = order.draft else { return nil }
        var report = DraftReport(
            model: draft.model.name, phase: draftLife.phase, weightBytes: draftLoaded?.weightBytes ?? draft.weightBytes)
        report.residentBytes = draftSnapshot?.status?.residentBytes ?? draftLoaded?.residentBytes
        report.loadSeconds = draftLoaded?.loadSeconds
        report.engineProcessID = draftSnapshot?.engineProcessID
        report.restartCount = draftLife.restartCount
        report.problem = draftLife.problem?.message
        guard let scheduler else { return report }
        report.secondsPerToken = scheduler.draftSecondsPerToken
        report.acceptance = scheduler.draftAcceptance
        report.draftedTokenCount = scheduler.counters.modelDraftedTokenCount
        report.acceptedTokenCount = scheduler.counters.modelAcceptedTokenCount
        return report
    }
}
