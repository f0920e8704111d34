import Logging
import NIOPosix
import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalModel
import ShoalPlanning
import ShoalWire

/// How fast this node computes: measured once per machine, engine build and number of threads, then corrected by what
/// its stages really take.
extension Node {
    private static let observationInterval = Duration.seconds(5)
    /// An engine that shares the machine with others may take far longer than the two seconds of an idle one.
    private static let measurementDeadline = Duration.seconds(60)

    /// Runs until the task is cancelled. Nothing waits for it: plans made before the measurement say what they assume.
    func keepSpeed() async {
        guard configuration.measuresSpeed else { return }
        let (record, notice) = await onFileThread { $0.load() }
        if let notice { logger.warning("\(notice)") }
        if let record, isOfThisNode(record) { speed = record.speed } else { await measureSpeed() }
        var seen: [InstanceID: SeenWork] = [:]
        // Cancellation ends the wait, and the loop with it.
        while (try? await Task.sleep(for: Self.observationInterval)) != nil { await observeStages(&seen) }
    }

    private func isOfThisNode(_ record: SpeedRecord) -> Bool {
        let build = configuration.llamaBuild
        return record.machine == MachineFacts.processorName && record.speed.threadCount == configuration.threadCount
            && (build.isEmpty || record.speed.engineBuild == build)
    }

    private func measureSpeed() async {
        do throws(ShoalError) {
            let engine = try await launcher.launch(
                label: "speed", eventLoop: dataLoop, receiver: SilentReceiver(), onLoadProgress: { _ in })
            let reply: EngineReply
            do throws(ShoalError) {
                reply = try await engine.request(
                    .measureSpeed(threadCount: configuration.threadCount), deadline: Self.measurementDeadline)
            } catch {
                await engine.stop()
                throw error
            }
            await engine.stop()
            guard case .speed(let measured) = reply, measured.isPlausible else {
                throw ShoalError(.protocolViolation, "the engine answered something else than its speed")
            }
            speed = measured
            broadcast(.node(announcement()))
            await storeSpeed()
        } catch {
            guard error.code != .cancelled else { return }
            logger.warning("the speed of this node is not known", metadata: ["error": "\(error)"])
        }
    }

    private func storeSpeed() async {
        guard let speed else { return }
        let record = SpeedRecord(machine: MachineFacts.processorName, speed: speed)
        let failure = await onFileThread { file in
            do throws(ShoalError) {
                try file.store(record)
                return ShoalError?.none
            } catch {
                return error
            }
        }
        if let failure { logger.warning("the measured speed cannot be kept", metadata: ["error": "\(failure)"]) }
    }

    private func onFileThread<Value: Sendable>(_ body: @escaping @Sendable (SpeedFile) -> Value) async -> Value {
        let file = SpeedFile(dataDirectory: configuration.dataDirectory)
        // The pool refuses work only when the process ends.
        return (try? await NIOThreadPool.singleton.runIfActive { body(file) }) ?? body(file)
    }

    // MARK: Observing

    /// What of a stage's work has been taken into account.
    struct SeenWork {
        var decode = StageWork()
        var prompt = StageWork()
        var engineProcessID: Int32?
        var hasLoad = false
        var shape: ModelShape?
    }

    private func observeStages(_ seen: inout [InstanceID: SeenWork]) async {
        let current = stages
        seen = seen.filter { current[$0.key] != nil }
        var isNew = false
        for (instance, stage) in current {
            guard let held = await stage.held else { continue }
            var work = seen[instance] ?? SeenWork()
            if await observe(held, await stage.snapshot(), &work) { isNew = true }
            seen[instance] = work
        }
        if isNew { await storeSpeed() }
    }

    private func observe(_ held: StageHost.Held, _ snapshot: StageSnapshot, _ seen: inout SeenWork) async -> Bool {
        guard let status = snapshot.status, speed != nil else { return false }
        if snapshot.engineProcessID != seen.engineProcessID {
            seen = SeenWork(engineProcessID: snapshot.engineProcessID, shape: seen.shape)
        }
        // A file that is gone by now stays without observations.
        if seen.shape == nil { seen.shape = try? await models.open(held.path).shape }
        guard let shape = seen.shape, held.layers.end <= shape.layerCount else { return false }
        var isNew = false
        if !seen.hasLoad {
            seen.hasLoad = true
            isNew =
                speed?.observeLoad(
                    model: held.model, byteCount: held.loaded.bytesReadFromDisk, seconds: held.loaded.loadSeconds)
                ?? false
        }
        let observed =
            speed?.observe(
                model: held.model, shape: shape, layers: held.layers,
                decode: MeasuredWork(status.decodeWork - seen.decode),
                prompt: MeasuredWork(status.promptWork - seen.prompt)) ?? false
        guard observed else { return isNew }
        seen.decode = status.decodeWork
        seen.prompt = status.promptWork
        return true
    }
}

extension MeasuredWork {
    /// Nil if nothing was computed.
    fileprivate init?(_ work: StageWork) {
        guard work.microBatchCount > 0, work.tokenCount > 0 else { return nil }
        self.init(
            microBatchCount: work.microBatchCount,
            average: StageSpeed.Work(
                tokenCount: work.tokenCount / work.microBatchCount,
                cachedTokenCount: work.positionSum / work.tokenCount,
                outputCount: (work.outputCount + work.microBatchCount - 1) / work.microBatchCount),
            seconds: work.seconds)
    }
}

/// For an engine that computes nothing.
private final class SilentReceiver: FrameReceiver {
    func received(_ frame: Frame, on connection: FrameConnection) {}

    func closed(_ connection: FrameConnection, because error: ShoalError?) {}
}
