import ShoalCore

/// Loads a model and waits for it, showing how far it is.
struct Loader {
    /// Between two looks at a loading instance.
    static let pollInterval = Duration.milliseconds(200)
    /// How long a report may stay the same before waiting ends; the node has its own, shorter deadlines.
    static let stallSeconds = 900

    var client: NodeClient
    /// Gets lines for a person; a line that starts with "\r" replaces the last one.
    var show: (String) -> Void
    /// Whether lines can be replaced.
    var isInteractive: Bool

    /// How long the cluster may take to say what follows an instance that failed or is gone.
    static let successorSeconds = 10

    /// Returns the report of the ready instance, which may be the successor of one that was lost meanwhile. Throws the
    /// cause if it fails or is stopped, and `.timedOut` if its report does not change for `stallSeconds`.
    func load(_ request: LoadRequest) async throws -> InstanceReport {
        var report: InstanceReport = try await client.post("/shoal/v1/instances", request)
        var progress = LoadProgress()
        let clock = ContinuousClock()
        var lastChange = clock.now
        defer { if isInteractive { show("\r\u{1B}[K") } }
        while report.phase != .ready {
            tell(report, &progress)
            guard clock.now - lastChange < .seconds(Loader.stallSeconds) else {
                throw ShoalError(
                    .timedOut,
                    "\(report.model) is \(report.phase.rawValue) and has not moved for \(Loader.stallSeconds) s"
                )
            }
            try await Task.sleep(for: Loader.pollInterval)
            let next = try await next(after: report)
            if let next, next != report {
                lastChange = clock.now
                report = next
            }
            let isOver = clock.now - lastChange > .seconds(Loader.successorSeconds)
            guard next != nil || !isOver else {
                throw ShoalError(.unavailable, "\(report.model) was stopped while it was being loaded")
            }
            let mayHeal = report.problemCode?.mayHealElsewhere ?? false
            if report.phase == .failed, isOver || !mayHeal { throw Loader.failure(report) }
        }
        tell(report, &progress)
        return report
    }

    /// What became of `report`: its instance now, or what the cluster puts in its place; nil if neither is there.
    private func next(after report: InstanceReport) async throws -> InstanceReport? {
        let all: [InstanceReport] = try await client.get("/shoal/v1/instances")
        let candidates = all.filter { $0.isWanted && ($0.id == report.id || $0.slot == report.slot && $0.slot != nil) }
        return candidates.first { ![.waiting, .failed, .stopped].contains($0.phase) }
            ?? candidates.first { $0.phase == .waiting } ?? candidates.first
    }

    /// Why an instance is not ready, in one sentence.
    static func failure(_ report: InstanceReport) -> ShoalError {
        let stage = report.stages.first { $0.problem != nil }
        let cause =
            report.problem
            ?? stage.map { "layers \($0.layers) on \($0.nodeName): \($0.problem ?? "")" } ?? "no reason was given"
        return ShoalError(.unavailable, "\(report.model) is \(report.phase.rawValue): \(cause)")
    }

    private func tell(_ report: InstanceReport, _ progress: inout LoadProgress) {
        if isInteractive {
            show("\r\u{1B}[K\(LoadProgress.status(report))")
        } else {
            for line in progress.newLines(report) { show("\(line)\n") }
        }
    }
}
