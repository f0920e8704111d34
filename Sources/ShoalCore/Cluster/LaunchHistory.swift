/// How long launches of the same model on the same nodes usually take, phase by phase: one that takes far longer is
/// worth a word.
package struct LaunchHistory: Sendable {
    /// A phase is slow when it took more than so many times its median.
    package static let slowFactor = 2.0
    /// And so much longer than its median; less is noise.
    package static let slowExcessSeconds = 1.0
    /// Launches of one kind that make a median.
    package static let launchCountMin = 3
    package static let launchCountMax = 15
    package static let kindCountMax = 64

    /// What makes two launches comparable.
    private struct Kind: Hashable {
        struct Place: Hashable {
            var node: NodeID
            var layers: LayerRange
        }

        var model: String
        var engine: EngineKind
        var places: [Place]
        var contextTokenCount: Int
        var sequenceCountMax: Int
    }

    /// Latest last, each with the seconds of its phases.
    private var launches: [Kind: [[InstancePhase: Double]]] = [:]
    /// The one that was launched longest ago first.
    private var kinds: [Kind] = []

    package init() {}

    /// To be called when an instance becomes ready. Returns a sentence if phases of this launch took much longer than
    /// they usually do. An instance that had to recover is neither judged nor remembered.
    package mutating func observe(_ report: InstanceReport) -> String? {
        let phases = report.phases.prefix { $0.phase != .ready }
        guard phases.count < report.phases.count, !report.phases.contains(where: { $0.phase == .recovering }) else {
            return nil
        }
        let seconds = Dictionary(
            phases.map { ($0.phase, max(0, ($0.endSeconds ?? $0.startSeconds) - $0.startSeconds)) },
            uniquingKeysWith: +)
        let kind = Kind(
            model: report.model, engine: report.engine,
            places: report.stages.map { Kind.Place(node: $0.node, layers: $0.layers) },
            contextTokenCount: report.contextTokenCount, sequenceCountMax: report.sequenceCountMax)
        let former = launches[kind] ?? []
        remember(seconds, of: kind)
        let slow = phases.compactMap { Self.judge($0.phase, seconds, former) }
        return slow.isEmpty ? nil : "slow to start: " + slow.joined(separator: ", ")
    }

    private static func judge(
        _ phase: InstancePhase, _ seconds: [InstancePhase: Double], _ former: [[InstancePhase: Double]]
    ) -> String? {
        let known = former.compactMap { $0[phase] }.sorted()
        guard known.count >= launchCountMin, let taken = seconds[phase] else { return nil }
        let median = known[known.count / 2]
        guard taken > slowFactor * median, taken > median + slowExcessSeconds else { return nil }
        return "\(phase.rawValue) took \(oneDecimal(taken)) s, usually \(oneDecimal(median)) s"
    }

    private mutating func remember(_ seconds: [InstancePhase: Double], of kind: Kind) {
        launches[kind] = ((launches[kind] ?? []) + [seconds]).suffix(Self.launchCountMax)
        kinds.removeAll { $0 == kind }
        kinds.append(kind)
        while kinds.count > Self.kindCountMax { launches[kinds.removeFirst()] = nil }
    }
}
