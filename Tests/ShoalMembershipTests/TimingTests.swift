import ShoalCore
import ShoalMembership
import Testing

/// The promises about time, in virtual time, over many seeds: each names its bound.
@Suite("Membership timing")
struct TimingTests {
    private static let sizes = [2, 3, 5, 12]
    private static let second = 1_000_000

    /// A cluster that had time to find itself and a leader.
    private func settled(_ size: Int, seed: UInt64) -> SimulatedCluster {
        var cluster = SimulatedCluster(seed: seed, nodeCount: size)
        cluster.runsInstances = false
        cluster.network = SimulatedCluster.Network(delayMin: 500, delayMax: 20_000)
        for index in 1..<size { cluster.connect(index, 0) }
        cluster.run(until: 12 * Self.second + cluster.generator.below(Self.second))
        #expect(cluster.disagreement() == nil, "seed \(seed)")
        cluster.memberEvents = []
        cluster.leaderEvents = []
        return cluster
    }

    /// The states in which the running nodes hold `subject`.
    private func views(of subject: Int, in cluster: SimulatedCluster) -> Set<MemberState> {
        Set(
            cluster.nodes.filter { $0.isRunning && !$0.isFrozen && $0.id != nodeID(subject) }.map {
                $0.member.membership.state(of: nodeID(subject)) ?? .dead
            })
    }

    @Test("a killed node is dead everywhere within 1 s", arguments: sizes)
    func killedNode(size: Int) {
        for seed in seeds(0..<20) {
            var cluster = settled(size, seed: seed)
            let victim = cluster.generator.below(size)
            cluster.crash(victim, closes: true)
            cluster.run(until: cluster.now + Self.second)
            #expect(views(of: victim, in: cluster) == [.dead], "SHOAL_SEED=\(seed)")
        }
    }

    @Test("a killed node is dead everywhere within 1 s where only one member was connected to it")
    func killedNodeOneLink() {
        for seed in seeds(0..<20) {
            var cluster = settled(12, seed: seed)
            cluster.crash(5, closes: false)
            cluster.closed(7, by: 5)
            cluster.run(until: cluster.now + Self.second)
            #expect(views(of: 5, in: cluster) == [.dead], "SHOAL_SEED=\(seed)")
        }
    }

    @Test("a frozen node is suspect within 3 s and dead within 8 s, everywhere", arguments: sizes)
    func frozenNode(size: Int) {
        for seed in seeds(0..<20) {
            var cluster = settled(size, seed: seed)
            let victim = cluster.generator.below(size)
            cluster.nodes[victim].isFrozen = true
            cluster.run(until: cluster.now + 3 * Self.second)
            #expect(views(of: victim, in: cluster) == [.suspect], "SHOAL_SEED=\(seed)")
            cluster.run(until: cluster.now + 5 * Self.second)
            #expect(views(of: victim, in: cluster) == [.dead], "SHOAL_SEED=\(seed)")
        }
    }

    @Test("five of twelve nodes that lose power together are suspect within 4 s and dead within 9 s")
    func unpluggedTogether() {
        for seed in seeds(0..<10) {
            var cluster = settled(12, seed: seed)
            for victim in 2..<7 { cluster.crash(victim, closes: false) }
            cluster.run(until: cluster.now + 4 * Self.second)
            for victim in 2..<7 { #expect(!views(of: victim, in: cluster).contains(.alive), "SHOAL_SEED=\(seed)") }
            cluster.run(until: cluster.now + 5 * Self.second)
            for victim in 2..<7 { #expect(views(of: victim, in: cluster) == [.dead], "SHOAL_SEED=\(seed)") }
        }
    }

    @Test("stalls of 300 ms, one after the other, cause nothing", arguments: sizes)
    func shortStalls(size: Int) {
        for seed in seeds(0..<10) {
            var cluster = settled(size, seed: seed)
            for _ in 0..<40 {
                let victim = cluster.generator.below(size)
                cluster.nodes[victim].isFrozen = true
                cluster.run(until: cluster.now + 300_000)
                cluster.thaw(victim)
                cluster.run(until: cluster.now + cluster.generator.below(200_000))
            }
            #expect(cluster.memberEvents.isEmpty && cluster.leaderEvents.isEmpty, "SHOAL_SEED=\(seed)")
        }
    }

    @Test("a network that stalls for 300 ms causes nothing")
    func networkStalls() {
        for seed in seeds(0..<10) {
            var cluster = settled(4, seed: seed)
            for _ in 0..<20 {
                // Everything sent in the stall arrives when it ends, as over TCP.
                cluster.network.delayMin = 300_000
                cluster.network.delayMax = 305_000
                cluster.run(until: cluster.now + 100_000)
                cluster.network.delayMin = 500
                cluster.network.delayMax = 20_000
                cluster.run(until: cluster.now + 400_000)
            }
            #expect(cluster.memberEvents.isEmpty && cluster.leaderEvents.isEmpty, "SHOAL_SEED=\(seed)")
        }
    }

    @Test("a node that slept for a minute blames nobody and is one row when it wakes", arguments: sizes)
    func sleeper(size: Int) {
        for seed in seeds(0..<10) {
            var cluster = settled(size, seed: seed)
            cluster.nodes[1].isFrozen = true
            cluster.run(until: cluster.now + 60 * Self.second)
            cluster.memberEvents = []
            cluster.thaw(1)
            cluster.run(until: cluster.now + 5 * Self.second)
            let blamed = cluster.memberEvents.filter { $0.event != .joined(nodeID(1)) }
            #expect(blamed.isEmpty, "SHOAL_SEED=\(seed): \(blamed)")
            #expect(cluster.disagreement() == nil, "SHOAL_SEED=\(seed)")
        }
    }

    @Test("a new leader is followed everywhere within 3 s of the first suspicion", arguments: [3, 5, 12])
    func leaderLost(size: Int) throws {
        for seed in seeds(0..<20) {
            for closes in [true, false] {
                var cluster = settled(size, seed: seed)
                let leader = try #require(cluster.nodes.firstIndex { $0.member.isLeading })
                cluster.crash(leader, closes: closes)
                while cluster.memberEvents.isEmpty { cluster.run(until: cluster.now + 50_000) }
                cluster.run(until: cluster.now + 3 * Self.second)
                let terms = Set(cluster.nodes.filter(\.isRunning).map(\.member.term))
                #expect(terms.count == 1, "SHOAL_SEED=\(seed)")
                let successor = try #require(terms.first ?? nil)
                #expect(successor.leader != nodeID(leader), "SHOAL_SEED=\(seed)")
                #expect(cluster.leaderEvents.count { if case .tookLead = $0.event { true } else { false } } == 1)
            }
        }
    }

    @Test("three fresh nodes agree on one leader within 3 s of seeing each other")
    func freshNodes() {
        for seed in seeds(0..<50) {
            var cluster = SimulatedCluster(seed: seed, nodeCount: 3)
            cluster.runsInstances = false
            cluster.connect(0, 1)
            cluster.connect(1, 2)
            cluster.run(until: 3 * Self.second)
            #expect(cluster.disagreement() == nil, "SHOAL_SEED=\(seed)")
        }
    }

    @Test("a phone that was alone for a minute does not take the lead from the others")
    func loneClaimant() {
        for seed in seeds(0..<20) {
            var cluster = settled(5, seed: seed)
            let leader = cluster.nodes.firstIndex { $0.member.isLeading }
            let phone = leader == 0 ? 1 : 0
            for other in 0..<5 where other != phone {
                cluster.isBlocked[phone][other] = true
                cluster.isBlocked[other][phone] = true
            }
            cluster.run(until: cluster.now + 60 * Self.second)
            #expect(cluster.nodes[phone].member.isLeading, "SHOAL_SEED=\(seed)")
            cluster.unblockAll()
            cluster.run(until: cluster.now + 6 * Self.second)
            #expect(cluster.nodes.firstIndex { $0.member.isLeading } == leader, "SHOAL_SEED=\(seed)")
            #expect(cluster.disagreement() == nil, "SHOAL_SEED=\(seed)")
        }
    }

    @Test("500 nodes that know a few others each elect one leader in under 5 s")
    func fiveHundredNodes() {
        var cluster = SimulatedCluster(seed: 1, nodeCount: 500)
        cluster.runsInstances = false
        for index in 1..<500 {
            for _ in 0..<3 { cluster.connect(index, cluster.generator.below(index)) }
        }
        cluster.run(until: 5 * Self.second)
        let terms = Set(cluster.nodes.map(\.member.term))
        #expect(terms.count == 1 && terms != [nil], "\(terms.count) terms")
        #expect(cluster.nodes.count { $0.member.isLeading } == 1)
        #expect(cluster.violation == nil)
        #expect(cluster.nodes.allSatisfy { $0.member.membership.aliveCount == 500 })
    }
}
