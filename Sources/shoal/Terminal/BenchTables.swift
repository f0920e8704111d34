import ShoalCore

extension TextTable {
    /// What `shoal bench` shows: measured, and what was predicted in parentheses.
    static func benchmark(_ results: [ModelBenchmark.Result]) -> TextTable {
        let streams = results.first?.streamCount ?? 0
        var table = TextTable([
            ("PLACEMENT", .left), ("LOAD S", .right), ("FIRST TOKEN MS", .right), ("MS PER TOKEN", .right),
            ("COMPUTED", .right), ("TOK/S, \(streams) STREAMS", .right),
        ])
        for result in results {
            let predicted = result.predicted
            table.add([
                result.placement, pair(result.loadSeconds, predicted?.loadSeconds),
                pair(result.timeToFirstTokenSeconds * 1000, predicted.map { $0.timeToFirstTokenSeconds * 1000 }),
                pair(result.millisecondsPerToken, predicted?.millisecondsPerToken),
                result.computeMilliseconds.map(oneDecimal) ?? "-",
                pair(result.tokensPerSecond, predicted?.tokensPerSecond),
            ])
        }
        return table
    }

    private static func pair(_ measured: Double, _ predicted: Double?) -> String {
        oneDecimal(measured) + (predicted.map { " (\(oneDecimal($0)))" } ?? "")
    }
}
