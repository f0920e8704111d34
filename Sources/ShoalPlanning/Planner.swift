package import ShoalCore
import ShoalModel

/// Decides which node holds which layers, and says why.
///
/// A plan is the placement with the least predicted time per token for the objective. It is never a split that is
/// predicted slower than the best single node that holds the model; only a person can force one, with `assignments`.
package enum Planner {
    /// Up to this many nodes every placement is considered.
    package static let exactNodeCountMax = 6
    /// A bound on the search over them, in cuts looked at; reached by no cluster in the tests.
    static let stepCountMax = 20_000_000
    /// How much faster a placement on more nodes must be predicted to be worth them.
    static let gainMin = 0.005
    /// The same while speeds or links are assumptions: those are off by more than that.
    static let assumedGainMin = 0.25

    /// - Parameters:
    ///   - nodes: those that can be reached, any order.
    ///   - links: what is known about the ways between them.
    /// - Throws: `invalidPlacement` for `assignments` that cannot be, `insufficientMemory` with the numbers.
    package static func plan(
        _ request: PlanRequest, nodes: [PlannerNode], links: [PlannerLink] = []
    ) throws(ShoalError) -> PlanReport {
        guard !nodes.isEmpty else {
            throw ShoalError(.insufficientMemory, "\(request.modelName): no node is reachable")
        }
        let placement = Placement(request: request, nodes: nodes, links: links)
        if !request.assignments.isEmpty { return try placement.explicit() }
        guard let report = placement.best() else { throw placement.refusal() }
        return report
    }
}

/// One run of the planner.
struct Placement {
    let request: PlanRequest
    let nodes: [PlannerNode]
    let costs: PlanCosts

    var needs: StageNeeds { costs.needs }
    var layerCount: Int { request.shape.layerCount }

    init(request: PlanRequest, nodes: [PlannerNode], links: [PlannerLink]) {
        self.request = request
        // Sorted, so that the result does not depend on the order in which nodes were found.
        let sorted = nodes.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
        self.nodes = sorted
        costs = PlanCosts(
            request, needs: StageNeeds(request), nodes: sorted, links: LinkTimes(links, nodes: sorted),
            streamCount: request.objective == .throughput ? request.sequenceCount : 1)
    }

    /// Nil if nothing fits.
    func best() -> PlanReport? {
        let found = ranked()
        guard let chosen = chosen(from: found) else { return nil }
        var report = report(chosen.pieces, reasons(for: chosen, found))
        report.alternatives = found.filter { $0.pieces != chosen.pieces }.prefix(PlanReport.alternativeCountMax).map {
            PlanReport.Alternative(stages: stages($0.pieces), prediction: prediction($0.pieces))
        }
        return report
    }

    /// Placements that fit, best first: the best ones, and every single node that comes close to them.
    func ranked() -> [PlacementSearch.Found] {
        let keptCount = PlanReport.alternativeCountMax + 1
        let found: [PlacementSearch.Found]
        if nodes.count <= Planner.exactNodeCountMax {
            let search = PlacementSearch(
                costs, candidates: Array(nodes.indices), stageCountMax: nodes.count, keptCount: keptCount,
                stepCountMax: Planner.stepCountMax)
            search.run()
            found = search.found
        } else {
            found = LargeClusterSearch(costs, keptCount: keptCount).run()
        }
        let known = Set(found.map(\.pieces))
        let solos = solos().filter { !known.contains($0.pieces) }
        return (found + solos).sorted { ($0.score, $0.pieces.count) < ($1.score, $1.pieces.count) }
    }

    /// Single nodes that hold the model, best first.
    func solos() -> [PlacementSearch.Found] {
        nodes.indices.map { Piece(node: $0, first: 0, end: layerCount) }.filter(costs.fits)
            .map { PlacementSearch.Found(pieces: [$0], score: costs.score([$0])) }
            .sorted { ($0.score, $0.pieces[0].node) < ($1.score, $1.pieces[0].node) }
    }

    /// The best one, unless one on fewer nodes is about as good.
    private func chosen(from found: [PlacementSearch.Found]) -> PlacementSearch.Found? {
        guard var chosen = found.first else { return nil }
        let fewer = found.sorted { ($0.pieces.count, $0.score) < ($1.pieces.count, $1.score) }
        for other in fewer where other.pieces.count < chosen.pieces.count {
            let isMeasured = isMeasured(chosen.pieces) && isMeasured(other.pieces)
            let gain = isMeasured ? Planner.gainMin : Planner.assumedGainMin
            if other.score <= chosen.score * (1 + gain) {
                chosen = other
                break
            }
        }
        return chosen
    }

    /// Whether no speed and no link of a placement is an assumption.
    func isMeasured(_ pieces: [Piece]) -> Bool {
        pieces.allSatisfy { costs.speeds[$0.node].isMeasured }
            && hops(pieces).allSatisfy { costs.links.isMeasured(from: $0.from, to: $0.to) }
    }

    /// The ways that a token takes: between neighbours, and back to the first stage.
    func hops(_ pieces: [Piece]) -> [(from: Int, to: Int)] {
        guard pieces.count > 1 else { return [] }
        return pieces.indices.map { (pieces[$0].node, pieces[($0 + 1) % pieces.count].node) }
    }

    func bytes(_ piece: Piece) -> ByteCount { ByteCount(costs.neededBytes(piece)) }
}
