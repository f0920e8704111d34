import ShoalCore
import ShoalModel
import ShoalPlanning
import Testing

@Suite("Planner on large clusters", .serialized)
struct LargeClusterTests {
    private static let layerCount = 80

    /// 500 nodes with measured speeds and each pair's link.
    private static func cluster(_ random: inout SeededGenerator, memoryMiB: ClosedRange<Int>) -> (
        [PlannerNode], [PlannerLink]
    ) {
        var pool = nodes((0..<500).map { _ in Int.random(in: memoryMiB, using: &random) })
        for index in pool.indices { pool[index].speed = speed(Double.random(in: 0.3...5, using: &random)) }
        var links: [PlannerLink] = []
        for from in pool {
            for to in pool where to.id != from.id {
                links.append(
                    PlannerLink(
                        from: from.id, to: to.id, roundTripSeconds: Double.random(in: 1e-4...2e-2, using: &random),
                        bytesPerSecond: Double.random(in: 1e6...1e9, using: &random)))
            }
        }
        return (pool, links)
    }

    @Test(
        "500 nodes: a placement that covers every layer once, in memory, never slower than the best single node",
        arguments: [
            (PlanObjective.latency, 900...2200), (.throughput, 900...2200), (.latency, 100...300),
            (.throughput, 60...120),
        ])
    func many(objective: PlanObjective, memoryMiB: ClosedRange<Int>) throws {
        var random = SeededGenerator(seed: 7)
        let (pool, links) = LargeClusterTests.cluster(&random, memoryMiB: memoryMiB)
        var asked = request(shape(layersMiB: Array(repeating: 20, count: LargeClusterTests.layerCount)))
        asked.objective = objective
        let plan = try Planner.plan(asked, nodes: pool, links: links)
        let sample = RandomCluster(request: asked, nodes: pool, links: links)
        for stages in [plan.stages] + plan.alternatives.map(\.stages) { #expect(sample.problem(with: stages) == nil) }
        let best = try #require(plan.prediction)
        for other in plan.alternatives.map(\.prediction) {
            let (mine, its) =
                objective == .latency
                ? (best.millisecondsPerToken, other.millisecondsPerToken)
                : (1 / best.tokensPerSecond, 1 / other.tokensPerSecond)
            #expect(mine <= its * 1.01)
        }
    }

    @Test("up to eight nodes the heuristic comes close to the exact search", arguments: 0..<40)
    func heuristic(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var sample = RandomCluster(&random)
        while sample.nodes.count < 6 { sample = RandomCluster(&random) }
        let exact = try? Planner.plan(sample.request, nodes: sample.nodes, links: sample.links)
        // Nodes that hold nothing make the cluster too large for the exact search.
        let useless = nodes([1, 1, 1, 1, 1, 1, 1, 1]).map { node in
            var node = node
            node.id = NodeID("f" + node.id.rawValue.dropFirst()) ?? node.id
            return node
        }
        let found = try? Planner.plan(sample.request, nodes: sample.nodes + useless, links: sample.links)
        #expect((exact == nil) == (found == nil), "seed \(seed)")
        guard let exact = exact?.prediction, let found = found?.prediction else { return }
        #expect(
            found.millisecondsPerToken <= exact.millisecondsPerToken * 1.02 || sample.request.objective == .throughput,
            "seed \(seed)")
        #expect(
            found.tokensPerSecond >= exact.tokensPerSecond * 0.98 || sample.request.objective == .latency,
            "seed \(seed)")
    }
}
