import ShoalCore
import ShoalMembership
import Testing

/// Membership, leader, desired state and the launch of instances under everything that a network and machines do. One
/// seed, one run; replay a failure with `SHOAL_SEED=<seed>`.
@Suite("Membership simulation")
struct ClusterSimulationTests {
    private static let seedCount: UInt64 = 2_000
    /// Two halves that run side by side.
    private static let halves: [Range<UInt64>] = [0..<seedCount / 2, seedCount / 2..<seedCount]

    @Test("whatever breaks, one leader, one row per node and one instance per slot remain", arguments: halves)
    func converges(half: Range<UInt64>) {
        var totals = (adoptions: 0, refusals: 0, drains: 0, ready: 0, failures: 0, waits: 0, givenUp: 0)
        let chosen = seeds(half)
        for seed in chosen {
            let (cluster, problem) = run(seed: seed)
            totals.adoptions += cluster.adoptionCount
            totals.refusals += cluster.refusedCommandCount
            totals.drains += cluster.drainCount
            totals.ready += cluster.readyCount
            totals.failures += cluster.failureCount
            totals.waits += cluster.waitCount
            totals.givenUp += cluster.givenUpCount
            if let problem {
                Issue.record("SHOAL_SEED=\(seed), \(cluster.nodes.count) nodes: \(problem)")
                return
            }
        }
        // A simulation in which nothing happens proves nothing.
        guard chosen.count > 1 else { return }
        #expect(totals.adoptions > 50 && totals.refusals > 50 && totals.drains > 50, "\(totals)")
        #expect(totals.ready > 1000 && totals.failures > 50 && totals.waits > 20, "\(totals)")
        #expect(totals.givenUp < chosen.count / 50, "\(totals)")
    }

    @Test("the same seed gives the same run")
    func isDeterministic() {
        let runs = (0..<2).map { _ in run(seed: 77).cluster }
        #expect(runs[0].messageCount == runs[1].messageCount)
        #expect(runs[0].memberEvents.map(\.time) == runs[1].memberEvents.map(\.time))
        #expect(runs[0].leaderEvents.map(\.event) == runs[1].leaderEvents.map(\.event))
    }

    private func run(seed: UInt64) -> (cluster: SimulatedCluster, problem: String?) {
        var sizes = SeededGenerator(seed: seed)
        var cluster = SimulatedCluster(seed: seed, nodeCount: sizes.between(2, 5))
        for index in 1..<cluster.nodes.count { cluster.connect(index, sizes.below(index)) }
        cluster.queue.schedule(.fault, at: 1_000_000)
        cluster.network = cluster.randomNetwork()
        cluster.run(until: 3_000_000)
        cluster.changeWish()
        cluster.run(until: sizes.between(8, 16) * 1_000_000)
        cluster.heal()
        cluster.run(until: cluster.now + 12_000_000)
        // Loss can make a suspect at any moment, and the last look must find none.
        cluster.network.lossPercent = 0
        cluster.run(until: cluster.now + 5_000_000)
        let early = cluster.violation ?? cluster.disagreement()
        cluster.run(until: cluster.now + 1_000_000)
        return (cluster, early ?? cluster.violation ?? cluster.disagreement().map { "unstable: \($0)" })
    }
}
