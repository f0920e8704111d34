import ShoalCore

/// Turns the changing report of an instance that is being loaded into lines for a person.
struct LoadProgress: Sendable {
    private var told: [String: String] = [:]

    /// Lines for a log: one for each stage that has entered a new phase since the last call.
    mutating func newLines(_ report: InstanceReport) -> [String] {
        var lines: [String] = []
        for stage in report.stages {
            let key = "\(stage.nodeName) \(stage.layers)"
            let state = LoadProgress.state(of: stage, withPercentage: false)
            guard told.updateValue(state, forKey: key) != state else { continue }
            lines.append("layers \(stage.layers) on \(stage.nodeName): \(state)")
        }
        for (key, line) in [("awaited", awaitedWorkers(report)), ("notice", report.notice)] {
            guard let line, told.updateValue(line, forKey: key) != line else { continue }
            lines.append("\(report.model): \(line)")
        }
        let phase = LoadProgress.phase(of: report)
        if told.updateValue(phase, forKey: "") != phase { lines.append("\(report.model): \(phase)") }
        return lines
    }

    /// One line for a terminal, to be written over the last one.
    static func status(_ report: InstanceReport) -> String {
        let stages = report.stages.map { stage in
            "\(stage.nodeName) \(stage.layers) \(state(of: stage, withPercentage: true))"
        }
        return ([phase(of: report)] + stages).joined(separator: " | ")
    }

    /// With the reason, if there is no stage that could have one.
    private static func phase(of report: InstanceReport) -> String {
        guard report.stages.isEmpty, let problem = report.problem else { return report.phase.rawValue }
        return "\(report.phase.rawValue) (\(problem))"
    }

    private static func state(of stage: StageReport, withPercentage: Bool) -> String {
        if let problem = stage.problem { return "\(stage.phase.rawValue) (\(problem))" }
        if let seconds = stage.loadSeconds {
            let took = "\(stage.weightBytes) in \(oneDecimal(seconds)) s"
            return "\(stage.phase.rawValue) (\(took)\(rate(of: stage, seconds)))"
        }
        if stage.phase == .starting, let seconds = stage.worker?.preparedSeconds {
            return "worker ready after \(oneDecimal(seconds)) s"
        }
        guard withPercentage, stage.phase == .loading else { return stage.phase.rawValue }
        return "loading \(Int(stage.loadProgress * 100)) %"
    }

    /// At which rate the file was read; nothing where that is not known.
    private static func rate(of stage: StageReport, _ seconds: Double) -> String {
        guard let bytes = stage.bytesReadFromDisk, bytes > .zero, seconds > 0 else { return "" }
        return ", \(oneDecimal(Double(bytes.rawValue) / seconds / 1e6)) MB/s of the file"
    }
}
