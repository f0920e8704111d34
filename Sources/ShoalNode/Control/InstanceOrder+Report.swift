import ShoalCore

extension InstanceOrder {
    /// What there is to tell of an instance, whatever engine computes it. `head` is the node that reports.
    func report(by head: Node, _ phases: PhaseHistory, _ stages: [StageReport]) -> InstanceReport {
        var report = InstanceReport(
            id: id, model: model.name, family: family, head: head.id, headName: head.configuration.name,
            phase: phases.phase, stages: stages, contextTokenCount: contextTokenCount,
            sequenceCountMax: sequenceCountMax, createdUnixSeconds: createdUnixSeconds)
        report.phases = phases.reports
        return report
    }
}
