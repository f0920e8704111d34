import ShoalCore

extension TextTable {
    /// What `shoal links` shows: a line per direction and address.
    static func links(_ links: [LinkReport]) -> TextTable {
        var table = TextTable([
            ("FROM", .left), ("TO", .left), ("ADDRESS", .left), ("STATE", .left), ("ROUND TRIP", .right),
            ("JITTER", .right), ("MB/S", .right), ("10 MB", .left),
        ])
        for link in links {
            table.add([
                link.fromName, link.toName, link.address, words(link.state),
                link.roundTripMilliseconds.map { "\(oneDecimal($0)) ms" } ?? "-",
                link.jitterMilliseconds.map { "\(oneDecimal($0)) ms" } ?? "-",
                link.bytesPerSecond.map { oneDecimal($0 / 1e6) } ?? "-", bulk(link),
            ])
        }
        return table
    }

    private static func words(_ state: ReachState) -> String { state == .timedOut ? "timed out" : state.rawValue }

    private static func bulk(_ link: LinkReport) -> String {
        guard let passed = link.bulkPassed else { return "-" }
        let stall = link.longestStallMilliseconds.map { " \(oneDecimal($0)) ms" } ?? ""
        return passed ? "passed" : "stalled\(stall)"
    }
}

/// One line per pair that is not simply dialled by its first node.
func pairLines(_ pairs: [PairReport]) -> [String] {
    pairs.compactMap { pair in
        let names = "\(pair.firstName) - \(pair.secondName)"
        let reasons = pair.reasons.isEmpty ? "" : " (\(pair.reasons.joined(separator: "; ")))"
        return switch pair.way {
        case .direct: nil
        case .reversed: "\(names): \(pair.secondName) dials\(reasons)"
        case .relayed: "\(names): through \(pair.relayName ?? "a third node")\(reasons)"
        case .blocked: "\(names): no way\(reasons)"
        }
    }
}

/// What `shoal doctor` prints: one line per check, with what to do.
func doctorLines(_ report: DoctorReport) -> [String] {
    report.checks.map { check in
        let mark =
            switch check.outcome {
            case .pass: "pass"
            case .warning: "warn"
            case .failure: "FAIL"
            }
        return "\(mark)  \(check.finding)" + (check.advice.map { "; \($0)" } ?? "")
    } + report.environments.map(environmentLine)
}

/// What one node computes with and what it holds.
private func environmentLine(_ node: NodeEnvironment) -> String {
    var parts = ["Shoal \(node.shoalVersion)", "llama.cpp \(node.engineBuild ?? "not known")"]
    parts += node.devices
    parts.append(node.threadCount == 1 ? "1 thread" : "\(node.threadCount) threads")
    parts.append("\(node.memoryTotal)")
    let held = node.held.map { "\($0.model) \($0.layers) (\($0.weightBytes))" }
    return "node  \(node.nodeName): \(parts.joined(separator: ", ")); "
        + (held.isEmpty ? "holds no model" : "holds \(held.joined(separator: ", "))")
}
