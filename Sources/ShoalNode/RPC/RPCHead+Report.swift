import ShoalCore
import ShoalEngine
import ShoalLaunch
import ShoalRPC
import ShoalTunnel

/// What people are told of an instance of the rpc engine.
extension RPCHead {
    func report() -> InstanceReport {
        var report = order.report(by: node, lifecycle.phases, order.stages.indices.map(stageReport))
        report.engine = .rpc
        report.generation = lifecycle.generation
        report.problem = lifecycle.problem?.message
        report.problemCode = lifecycle.problem?.code
        report.runningRequestCount = runningRequestCount
        report.serverProcessID = server?.process.processID
        return report
    }

    private func stageReport(_ index: Int) -> StageReport {
        let stage = order.stages[index]
        var report = StageReport(
            node: stage.node, nodeName: stage.nodeName, layers: stage.layers, phase: lifecycle.phase,
            weightBytes: stage.weightBytes)
        if let worker = remoteStages.firstIndex(of: index) {
            describe(worker, in: &report)
        } else {
            describeLocal(&report)
        }
        report.loadSeconds = lifecycle.phase == .ready ? lifecycle.launchSeconds : nil
        return report
    }

    private func describeLocal(_ report: inout StageReport) {
        let local = proof.devices.filter { if case .local = $0 { true } else { false } }
        let bytes =
            local.isEmpty
            ? nil : local.compactMap { proof.modelBytes(on: $0) }.reduce(ByteCount.zero, +)
        if let bytes { report.weightBytes = bytes }
        report.loadProgress = lifecycle.phase == .ready || lifecycle.phase == .warming ? 1 : 0
        report.engineProcessID = server?.process.processID
        report.residentBytes = server?.process.residentBytes
        report.restartCount = max(0, lifecycle.launchCount - 1)
    }

    private func describe(_ worker: Int, in report: inout StageReport) {
        let index = remoteStages[worker]
        let devices = devices(of: worker)
        var details = RPCWorkerReport(
            address: prepared[worker]?.address ?? rpc.foreignAddresses[index] ?? report.nodeName,
            isForeign: rpc.foreignAddresses[index] != nil)
        details.preparedSeconds = lifecycle.workers[worker].preparedAt.map { $0 / .seconds(1) }
        details.protocolVersion = prepared[worker]?.protocolVersion
        details.devices = prepared[worker]?.devices ?? []
        details.modelBufferBytes = sum(devices, proof.modelBytes)
        details.kvBufferBytes = sum(devices, proof.cacheBytes)
        details.computeBufferBytes = sum(devices, proof.computeBytes)
        if let bytes = details.modelBufferBytes { report.weightBytes = bytes }
        if let counters = tunnels[worker]?.counters {
            details.bytesToWorker = ByteCount(counters.sentByteCount)
            details.bytesFromWorker = ByteCount(counters.receivedByteCount)
            details.weightBytesSent = ByteCount(counters.weights.sentByteCount)
            details.weightBytesReferenced = ByteCount(
                counters.weights.fromFileByteCount + counters.weights.fromCacheByteCount)
            details.graphCount = counters.graphComputeCount
            report.weightBytesReceived = ByteCount(counters.weights.sentByteCount)
            report.loadProgress = loadProgress(worker, counters, of: report.weightBytes)
        }
        report.engineProcessID = snapshots[worker]?.processID ?? prepared[worker]?.processID
        report.residentBytes = snapshots[worker]?.residentBytes
        report.restartCount = snapshots[worker]?.restartCount ?? prepared[worker]?.restartCount ?? 0
        report.problem = lifecycle.workers[worker].problem?.message
        report.worker = details
    }

    /// Weight bytes of this launch against what the device's buffer holds.
    private func loadProgress(_ worker: Int, _ counters: TunnelCounters, of expected: ByteCount) -> Double {
        switch lifecycle.phase {
        case .ready, .warming, .draining: return 1
        case .loading, .handshaking, .launching:
            guard expected > .zero else { return 0 }
            let written = counters.weights.allByteCount - weightBytesBeforeLaunch[worker]
            return min(1, max(0, Double(written) / Double(expected.rawValue)))
        default: return 0
        }
    }

    private func devices(of worker: Int) -> [LaunchProof.Device] {
        guard let port = tunnels[worker]?.port else { return [] }
        return proof.devices.filter {
            if case .worker("127.0.0.1:\(port)", _) = $0 { true } else { false }
        }
    }

    private func sum(
        _ devices: [LaunchProof.Device], _ bytes: (LaunchProof.Device) -> ByteCount?
    ) -> ByteCount? {
        let known = devices.compactMap(bytes)
        return known.isEmpty ? nil : known.reduce(.zero, +)
    }
}

extension RPCLifecycle {
    /// From the start of the present launch's workers to readiness.
    var launchSeconds: Double? {
        guard let ready = phases.records.last(where: { $0.phase == .ready }),
            let start = phases.records.last(where: { $0.phase == .starting })
        else { return nil }
        return max(0, (ready.startedAt - start.startedAt) / .seconds(1))
    }
}
