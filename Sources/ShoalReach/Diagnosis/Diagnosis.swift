package import ShoalCore

/// Turns facts and measurements into sentences: one line per problem, each with what to do. Pure.
package struct Diagnosis: Sendable {
    /// Tokens, invites and logs stay understandable below this.
    package static let clockSkewMax = 60.0

    let nodes: [NodeFacts]
    let matrix: ReachMatrix
    private let byID: [NodeID: NodeFacts]

    /// `nodes` holds every member, also those that cannot be reached now. `others` is what somebody else found, such as
    /// another protocol version on the network.
    package static func report(
        nodes: [NodeFacts], matrix: ReachMatrix, others: [DoctorCheck] = []
    ) -> DoctorReport {
        let diagnosis = Diagnosis(nodes: nodes, matrix: matrix)
        let groups = [
            diagnosis.presence(), diagnosis.names(), diagnosis.versions(), diagnosis.engines(), diagnosis.faults(),
            diagnosis.clocks(), diagnosis.listeners(), diagnosis.links(), others,
        ]
        return DoctorReport(checks: groups.flatMap(\.self))
    }

    init(nodes: [NodeFacts], matrix: ReachMatrix) {
        self.nodes = nodes.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
        self.matrix = matrix
        byID = Dictionary(nodes.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The name, with some of the id when it is not unique.
    func name(_ id: NodeID) -> String {
        guard let facts = byID[id] else { return String(id.rawValue.prefix(8)) }
        let isUnique = nodes.count { $0.name == facts.name } == 1
        return isUnique ? facts.name : "\(facts.name) (\(id.rawValue.prefix(8)))"
    }

    func facts(_ id: NodeID) -> NodeFacts? { byID[id] }

    private func presence() -> [DoctorCheck] {
        let gone = nodes.filter { !$0.isLinked }
        guard !gone.isEmpty else { return [DoctorCheck(.pass, "\(counted(nodes.count, "node")) connected")] }
        return gone.map { node in
            DoctorCheck(
                .failure, "node \(name(node.id)) is not connected to anybody",
                advice: "is the device on and on the network, and does shoal serve run there? "
                    + "If it is gone for good: shoal forget \(node.name)")
        }
    }

    private func names() -> [DoctorCheck] {
        let groups = Dictionary(grouping: nodes, by: \.name).filter { $0.value.count > 1 }
        return groups.sorted { $0.key < $1.key }.map { name, nodes in
            DoctorCheck(
                .warning, "\(nodes.count) nodes are called \(name)",
                advice: "give each its own: shoal serve --name NAME")
        }
    }

    private func versions() -> [DoctorCheck] {
        let linked = linked
        let protocols = Set(linked.map(\.protocolNumber))
        if protocols.count > 1 {
            return [
                DoctorCheck(
                    .failure, "nodes speak different protocols: \(listed { "\($0.protocolNumber)" })",
                    advice: "install the same Shoal version on all")
            ]
        }
        guard Set(linked.map(\.shoalVersion)).count > 1 else {
            return linked.first.map { [DoctorCheck(.pass, "all run Shoal \($0.shoalVersion)")] } ?? []
        }
        return [
            DoctorCheck(
                .warning, "nodes run different Shoal versions: \(listed(\.shoalVersion))",
                advice: "install the same version on all")
        ]
    }

    private func engines() -> [DoctorCheck] {
        let known = linked.filter { !$0.engineBuild.isEmpty }
        guard Set(known.map(\.engineBuild)).count > 1 else {
            return known.first.map { [DoctorCheck(.pass, "all have engine build \($0.engineBuild)")] } ?? []
        }
        return [
            DoctorCheck(
                .failure,
                "nodes have different engine builds: "
                    + known.map { "\(name($0.id)) \($0.engineBuild)" }.joined(separator: ", "),
                advice: "build the engine of the same revision on all; a model is not split between different ones")
        ]
    }

    private func faults() -> [DoctorCheck] {
        linked.compactMap { node in
            guard let fault = LlamaFault.of(node.engineBuild) else { return nil }
            return DoctorCheck(
                .warning, "\(name(node.id)) has engine build \(node.engineBuild), \(fault.finding)",
                advice: fault.advice)
        }
    }

    private func clocks() -> [DoctorCheck] {
        let known = linked.filter { $0.clockOffsetSeconds != nil }
        let wrong = known.filter { abs($0.clockOffsetSeconds ?? 0) > Self.clockSkewMax }
        guard !wrong.isEmpty else {
            return known.isEmpty ? [] : [DoctorCheck(.pass, "clocks agree within \(Int(Self.clockSkewMax)) s")]
        }
        return wrong.map { node in
            let offset = node.clockOffsetSeconds ?? 0
            return DoctorCheck(
                .warning,
                "the clock of \(name(node.id)) is \(Self.span(abs(offset))) \(offset > 0 ? "ahead" : "behind")",
                advice: "switch on automatic time there; invites would seem expired or not yet valid")
        }
    }

    private func listed(_ value: (NodeFacts) -> String) -> String {
        linked.map { "\(name($0.id)) \(value($0))" }.joined(separator: ", ")
    }

    /// Of the others nothing is known.
    private var linked: [NodeFacts] { nodes.filter(\.isLinked) }

    private func counted(_ count: Int, _ noun: String) -> String { count == 1 ? "1 \(noun)" : "all \(count) \(noun)s" }

    private static func span(_ seconds: Double) -> String {
        // Foreign numbers may be anything.
        guard seconds.isFinite, seconds < 1e12 else { return "very far" }
        return seconds < 7200 ? "\(Int(seconds)) s" : "\(oneDecimal(seconds / 3600)) h"
    }
}
