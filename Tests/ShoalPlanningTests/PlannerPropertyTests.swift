import ShoalCore
import ShoalModel
import ShoalPlanning
import Testing

/// Against every placement there is, on random clusters of up to six nodes.
@Suite("Planner against brute force")
struct PlannerPropertyTests {
    @Test("random clusters: within 1 % of the best placement, every layer once, in memory", arguments: 0..<1000)
    func properties(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let sample = RandomCluster(&random)
        let asked = sample.request
        let expected = BruteForce(asked, sample.nodes, sample.links).best()
        guard let plan = try? Planner.plan(asked, nodes: sample.nodes, links: sample.links) else {
            #expect(expected == nil, "seed \(seed)")
            return
        }
        let best = try #require(expected, "seed \(seed)")
        let prediction = try #require(plan.prediction, "seed \(seed)")
        let seconds =
            asked.objective == .latency ? prediction.millisecondsPerToken / 1000 : 1 / prediction.tokensPerSecond
        #expect(seconds <= best.secondsPerToken * 1.01, "seed \(seed)")
        #expect(seconds >= best.secondsPerToken * 0.999_999, "seed \(seed): better than brute force")
        if plan.stages.count > 1, let solo = best.soloSecondsPerToken {
            #expect(seconds <= solo, "seed \(seed): a split slower than one node")
        }
        for stages in [plan.stages] + plan.alternatives.map(\.stages) {
            #expect(sample.problem(with: stages) == nil, "seed \(seed): \(stages)")
        }
        let scores = plan.alternatives.map {
            asked.objective == .latency ? $0.prediction.millisecondsPerToken : 1 / $0.prediction.tokensPerSecond
        }
        #expect(scores == scores.sorted(), "seed \(seed): the alternatives are not ranked")
    }

    @Test("the random clusters are not trivial: refusals, single nodes, forced and voluntary splits all occur")
    func variety() {
        var counts: [String: Int] = [:]
        for seed in 0..<UInt64(1000) {
            var random = SeededGenerator(seed: seed)
            let sample = RandomCluster(&random)
            let plan = try? Planner.plan(sample.request, nodes: sample.nodes, links: sample.links)
            let hasSolo = plan.map { ([$0.stages] + $0.alternatives.map(\.stages)).contains { $0.count == 1 } } ?? false
            let kind =
                plan.map { $0.stages.count == 1 ? "solo" : hasSolo ? "faster split" : "needed split" } ?? "refused"
            counts[kind, default: 0] += 1
        }
        for kind in ["refused", "solo", "faster split", "needed split"] {
            #expect(counts[kind, default: 0] >= 50, "\(counts)")
        }
    }
}

/// A model, nodes and links that a seed makes.
struct RandomCluster {
    var request: PlanRequest
    var nodes: [PlannerNode]
    var links: [PlannerLink]

    init(request: PlanRequest, nodes: [PlannerNode], links: [PlannerLink]) {
        self.request = request
        self.nodes = nodes
        self.links = links
    }

    init(_ random: inout SeededGenerator) {
        let nodeCount = Int.random(in: 1...6, using: &random)
        let layerCount = Int.random(in: 1...[16, 14, 12, 10, 8, 7][nodeCount - 1], using: &random)
        let layers = (0..<layerCount).map { _ in Int.random(in: 1...60, using: &random) }
        let peculiar =
            Int.random(in: 0..<4, using: &random) == 0 ? Int.random(in: 1...layerCount, using: &random) : nil
        request = ShoalPlanningTests.request(
            shape(
                layersMiB: layers, outputMiB: Int.random(in: 0...40, using: &random), peculiarLayerCount: peculiar))
        request.objective = Bool.random(using: &random) ? .latency : .throughput
        request.sequenceCount = Int.random(in: 1...8, using: &random)
        let sum = layers.reduce(0, +)
        nodes = ShoalPlanningTests.nodes(
            (0..<nodeCount).map { _ in Int.random(in: 10...(sum + 160), using: &random) },
            threads: (0..<nodeCount).map { _ in Int.random(in: 1...8, using: &random) })
        for index in nodes.indices {
            nodes[index].speed = speed(Double.random(in: 0.2...8, using: &random))
            if Int.random(in: 0..<8, using: &random) == 0 {
                nodes[index].layerCountMax = Int.random(in: 1...layerCount, using: &random)
            }
        }
        links = []
        for from in nodes {
            for to in nodes where to.id != from.id {
                links.append(
                    PlannerLink(
                        from: from.id, to: to.id, roundTripSeconds: Double.random(in: 1e-4...2e-2, using: &random),
                        bytesPerSecond: Double.random(in: 1e6...1e9, using: &random)))
            }
        }
    }

    /// What is wrong with a placement; nil if nothing is.
    func problem(with stages: [PlanReport.Stage]) -> String? {
        var next = 0
        for stage in stages {
            guard let node = nodes.first(where: { $0.id == stage.node }) else { return "an unknown node" }
            if stage.layers.first != next { return "layer \(next) is not placed once" }
            if stage.neededBytes > node.availableBytes { return "\(node.name) has too little memory" }
            if stage.layers.count > node.layerCountMax ?? .max { return "\(node.name) may not hold so many layers" }
            if stage.weightBytes != request.shape.weightBytes(of: stage.layers) { return "wrong weights" }
            if request.shape.problem(with: stage.layers) != nil { return "an illegal cut" }
            next = stage.layers.end
        }
        if next != request.shape.layerCount { return "layers are missing" }
        return Set(stages.map(\.node)).count == stages.count ? nil : "a node is used twice"
    }
}
