import ShoalCore

extension TextTable {
    /// What `shoal trace --list` shows.
    static func traces(_ traces: [TraceReport]) -> TextTable {
        var table = TextTable([
            ("REQUEST", .left), ("MODEL", .left), ("HEAD", .left), ("PROMPT", .right), ("TOKENS", .right),
            ("MS PER TOKEN", .right),
        ])
        for trace in traces {
            let perToken = trace.decode.perToken(trace.decode.elapsed).map { oneDecimal($0 / 1000) } ?? "-"
            table.add([
                trace.request.description, trace.model, trace.headName, String(trace.prompt.tokenCount),
                String(trace.decode.tokenCount + 1), perToken,
            ])
        }
        return table
    }

    /// One part of an answer, line by line: what, where, microseconds per token (per micro-batch for prompts), share.
    fileprivate static func part(_ part: TraceReport.Part, of trace: TraceReport, per count: Int) -> TextTable {
        var table = TextTable([
            ("PART", .left), ("NODE", .left), ("LAYERS", .right), ("MICROSECONDS", .right), ("%", .right),
        ])
        let total = part.head + part.wire + part.stages.reduce(0) { $0 + $1.total }
        func add(_ name: String, _ place: TraceReport.Place?, _ sum: Int) {
            guard sum > 0, total > 0 else { return }
            table.add([
                name, place?.nodeName ?? "", place?.layers.description ?? "", oneDecimal(Double(sum) / Double(count)),
                oneDecimal(Double(sum) / Double(total) * 100),
            ])
        }
        add("head", TraceReport.Place?.none, part.head)
        for (index, stage) in part.stages.enumerated() {
            let place = trace.places.indices.contains(index) ? trace.places[index] : nil
            add("engine queue", place, stage.queue)
            add("embed", place, stage.embed)
            add("compute", place, stage.compute)
            add("sample", place, stage.sample)
            add("detokenize", place, stage.detokenize)
            add("to and from the engine", place, stage.handOver)
        }
        add("links", nil, part.wire)
        return table
    }
}

extension TraceReport.Part {
    /// Nil without tokens.
    func perToken(_ sum: Int) -> Double? { tokenCount > 0 ? Double(sum) / Double(tokenCount) : nil }
}

extension TraceReport {
    /// What `shoal trace` shows of one request.
    var lines: [String] {
        var lines = ["request \(request), \(model), head \(headName), instance \(instance)"]
        let milliseconds = oneDecimal(Double(prompt.elapsed) / 1000)
        lines.append(
            "prompt: \(prompt.tokenCount) tokens in \(prompt.microBatchCount) micro-batches, first token after "
                + "\(milliseconds) ms; per micro-batch:")
        lines += TextTable.part(prompt, of: self, per: max(1, prompt.microBatchCount)).lines.map { "  \($0)" }
        if let each = decode.perToken(decode.elapsed), each > 0 {
            lines.append(
                "answer: \(decode.tokenCount + 1) tokens, \(oneDecimal(each / 1000)) ms each "
                    + "(\(oneDecimal(1_000_000 / each)) per second), \(computation); per token after the first:")
            lines += TextTable.part(decode, of: self, per: decode.tokenCount).lines.map { "  \($0)" }
        }
        if !roundTrips.isEmpty { lines.append("round trips of the links: \(roundTrips)") }
        if let http, http.eventCount > 0 {
            let each = oneDecimal(Double(http.write) / Double(http.eventCount))
            lines.append("gateway: \(http.eventCount) events, \(each) microseconds each, beside the computation")
        }
        return lines
    }

    /// With guesses several micro-batches of one answer are under way, so that parts add up to more than passes.
    private var computation: String {
        let parts = decode.head + decode.wire + decode.stages.reduce(0) { $0 + $1.total }
        guard let own = decode.perToken(decode.elapsed - decode.compute) else { return "" }
        guard own >= 0, parts <= decode.elapsed + decode.elapsed / 10 else { return "stages computing side by side" }
        return "of which \(oneDecimal(own / 1000)) ms are not computation"
    }

    private var roundTrips: String {
        var parts: [String] = []
        func add(_ from: String, _ to: String, _ microseconds: Int) {
            guard microseconds > 0 else { return }
            parts.append("\(from) to \(to) \(oneDecimal(Double(microseconds) / 1000)) ms")
        }
        if let first = places.first { add(headName, first.nodeName, firstLinkRoundTrip) }
        let stages = decode.stages.isEmpty ? prompt.stages : decode.stages
        for (index, stage) in stages.enumerated() where index + 1 < places.count {
            add(places[index].nodeName, places[index + 1].nodeName, stage.linkRoundTrip)
        }
        return parts.joined(separator: ", ")
    }
}
