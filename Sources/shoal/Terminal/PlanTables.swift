import ShoalCore

/// What `shoal plan` prints.
func planLines(_ plan: PlanReport) -> [String] {
    var lines = [
        "\(plan.model): \(plan.family), \(plan.layerCount) layers, engine \(plan.engine.rawValue), "
            + "placed for \(plan.objective.rawValue)"
    ]
    lines += TextTable.stages(plan).lines
    if plan.stages.count > 1 {
        lines.append("each token sends \(plan.boundaryBytesPerToken.rawValue) bytes over each boundary")
    }
    if let prediction = plan.prediction {
        lines += ["", "predicted"] + TextTable.predictions(plan, prediction).lines
        lines += prediction.assumptions.map { "assumed: \($0)" }
    }
    if !plan.reasons.isEmpty { lines += ["", "because"] + plan.reasons.map { "  \($0)" } }
    return lines
}

extension TextTable {
    fileprivate static func stages(_ plan: PlanReport) -> TextTable {
        var table = TextTable([
            ("NODE", .left), ("LAYERS", .right), ("WEIGHTS", .right), ("NEEDED", .right), ("AVAILABLE", .right),
            ("LOAD", .right), ("PROMPT", .right), ("TOKEN", .right), ("HOP", .right),
        ])
        for stage in plan.stages {
            let times = stage.prediction.map {
                [
                    shortTime($0.loadSeconds), shortTime($0.promptSeconds), shortTime($0.millisecondsPerToken / 1000),
                    plan.stages.count > 1 ? shortTime($0.hopMilliseconds / 1000) : "-",
                ]
            }
            table.add(
                [
                    stage.nodeName, stage.layers.description, stage.weightBytes.description,
                    stage.neededBytes.description, stage.availableBytes.description,
                ] + (times ?? []))
        }
        return table
    }

    /// The plan, then the alternatives.
    fileprivate static func predictions(_ plan: PlanReport, _ prediction: PlanPrediction) -> TextTable {
        var table = TextTable([
            ("", .left), ("NODES", .left), ("LOAD", .right),
            ("FIRST TOKEN (\(prediction.promptTokenCount))", .right), ("PER TOKEN", .right), ("ALONE", .right),
            ("\(prediction.streamCount) REQUESTS", .right),
        ])
        table.add(["plan"] + cells(plan.stages, prediction))
        for (index, alternative) in plan.alternatives.enumerated() {
            table.add(["\(index + 2)."] + cells(alternative.stages, alternative.prediction))
        }
        return table
    }

    private static func cells(_ stages: [PlanReport.Stage], _ prediction: PlanPrediction) -> [String] {
        let mark = prediction.assumptions.isEmpty ? "" : "~"
        return [
            stages.map { stages.count > 1 ? "\($0.nodeName)=\($0.layers)" : $0.nodeName }.joined(separator: ","),
            mark + shortTime(prediction.loadSeconds), mark + shortTime(prediction.timeToFirstTokenSeconds),
            mark + shortTime(prediction.millisecondsPerToken / 1000),
            "\(mark)\(oneDecimal(1000 / max(1e-6, prediction.millisecondsPerToken))) tok/s",
            "\(mark)\(oneDecimal(prediction.tokensPerSecond)) tok/s",
        ]
    }
}

/// With the unit that leaves one to four digits in front of the point.
func shortTime(_ seconds: Double) -> String {
    seconds >= 10
        ? "\(Int(min(seconds, 1e9).rounded())) s"
        : seconds >= 1 ? "\(oneDecimal(seconds)) s" : "\(oneDecimal(seconds * 1000)) ms"
}
