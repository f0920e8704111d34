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

    /// Returns the report of the ready instance. Throws the cause if it fails or is stopped, and `.timedOut` if its
    /// report does not change for `stallSeconds`.
    func load(_ request: LoadRequest) async throws -> InstanceReport {
        var report: InstanceReport = try await client.post("/shoal/v1/instances", request)
        var progress = LoadProgress()
        let clock = ContinuousClock()
        var lastChange = clock.now
        defer { if isInteractive { show("\r\u{1B}[K") } }
        while true {
            tell(report, &progress)
            switch report.phase {
            case .ready: return report
            case .failed, .stopped: throw Loader.failure(report)
            default: break
            }
            guard clock.now - lastChange < .seconds(Loader.stallSeconds) else {
                throw ShoalError(
                    .timedOut,
                    "\(report.model) is \(report.phase.rawValue) and has not moved for \(Loader.stallSeconds) s"
                )
            }
            try await Task.sleep(for: Loader.pollInterval)
            let next: InstanceReport = try await client.get("/shoal/v1/instances/\(report.id)")
            if next != report { lastChange = clock.now }
            report = next
        }
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
