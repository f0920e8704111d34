import ShoalCore
import ShoalEngine
import ShoalScheduling

/// What people are told about the instance.
extension HeadService {
    func report() -> InstanceReport {
        var report = order.report(by: node, lifecycle.phases, order.stages.indices.map(stageReport))
        report.problem = lifecycle.problem?.message
        report.problemCode = lifecycle.problem?.code
        report.wire = order.wire
        report.runningRequestCount = scheduler?.runningRequestCount ?? 0
        report.queuedRequestCount = scheduler?.queuedRequestCount ?? 0
        report.cachedSequenceCount = scheduler?.cachedSequences.count ?? 0
        report.counters = scheduler?.counters ?? HeadCounters()
        report.draft = draftReport()
        return report
    }

    private func stageReport(_ index: Int) -> StageReport {
        let stage = order.stages[index]
        let state = lifecycle.stages[index]
        var report = StageReport(
            node: stage.node, nodeName: stage.nodeName, layers: stage.layers, phase: state.phase(of: lifecycle.phase),
            weightBytes: stageLoads[index]?.weightBytes ?? stage.weightBytes)
        report.loadProgress = state.loadProgress
        report.loadSeconds = stageLoads[index]?.loadSeconds
        report.bytesReadFromDisk = stageLoads[index]?.bytesReadFromDisk
        report.kvCacheBytes = stageLoads[index]?.kvCacheBytes
        report.residentBytes = snapshots[index]?.status?.residentBytes ?? stageLoads[index]?.residentBytes
        report.restartCount = state.restartCount
        report.problem = state.problem?.message
        if let snapshot = snapshots[index] {
            report.engineProcessID = snapshot.engineProcessID
            let cached = Set(scheduler?.cachedSequences ?? [])
            report.sequencesInUse = (snapshot.status?.sequencesInUse ?? []).filter { !cached.contains($0) }
            report.boundaryBytesSent = snapshot.boundaryBytesSent
            report.boundaryTokenCount = snapshot.boundaryTokenCount
            report.computedTokenCount = snapshot.status?.tokenCount
            report.computeSeconds = snapshot.status?.computeSeconds
            report.weightBytesReceived = snapshot.weightBytesReceived
        }
        return report
    }
}

extension StageState {
    /// What a person is told about the stage, given what the instance as a whole is doing.
    fileprivate func phase(of instance: InstancePhase) -> InstancePhase {
        switch condition {
        case .absent: instance == .stopped || instance == .failed ? instance : .starting
        case .starting: .starting
        case .loading: .loading
        case .loaded: instance
        case .resetting: .recovering
        case .unloading: .draining
        }
    }
}
