import ShoalCore
import ShoalModel
import ShoalPlanning

/// Tries every order of every set of nodes with every cut, with formulas of its own.
struct BruteForce {
    struct Best {
        var secondsPerToken: Double
        var soloSecondsPerToken: Double?
    }

    private let request: PlanRequest
    private let nodes: [PlannerNode]
    private let hops: [[Double]]
    private let bytesPerSecond: [[Double]]
    private let groups: [(count: Int, size: Int)]
    private let streamCount: Int
    /// `times[group][node][first][end]`; nil where the range does not fit or is not legal.
    private var times: [[[[Double?]]]] = []

    init(_ request: PlanRequest, _ nodes: [PlannerNode], _ links: [PlannerLink]) {
        self.request = request
        self.nodes = nodes
        let streamCount = request.objective == .latency ? 1 : request.sequenceCount
        self.streamCount = streamCount
        let counts = Set([1, 2, 4, 8, 16].filter { $0 < streamCount } + [streamCount])
        groups = counts.sorted().map { ($0, (streamCount + $0 - 1) / $0) }
        func link(_ from: PlannerNode, _ to: PlannerNode) -> PlannerLink? {
            links.first { $0.from == from.id && $0.to == to.id }
        }
        hops = nodes.map { from in
            nodes.map { to in
                (link(from, to)?.roundTripSeconds ?? LinkTimes.assumedRoundTripSeconds) / 2 + LinkTimes.secondsPerFrame
            }
        }
        bytesPerSecond = nodes.map { from in
            nodes.map { to in link(from, to)?.bytesPerSecond ?? LinkTimes.assumedBytesPerSecond }
        }
        let needs = StageNeeds(request)
        let layerCount = request.shape.layerCount
        times = groups.map { group in
            let work = StageSpeed.Work(
                tokenCount: group.size, cachedTokenCount: request.promptTokenCount, outputCount: group.size)
            return nodes.map { node in
                let speed = StageSpeed(shape: request.shape, modelName: request.modelName, node: node)
                return (0..<layerCount).map { first in
                    (0...layerCount).map { end in
                        guard let range = LayerRange(first: first, end: end),
                            request.shape.problem(with: range) == nil,
                            needs.neededBytes(first, end) <= node.availableBytes.rawValue,
                            range.count <= node.layerCountMax ?? .max
                        else { return nil }
                        return speed.stageSeconds(range, work)
                    }
                }
            }
        }
    }

    func best() -> Best? {
        var best = Double.infinity
        var solo = Double.infinity
        for group in groups.indices {
            place(group, [], 0, 0, 0) { seconds, stageCount in
                best = min(best, seconds)
                if stageCount == 1 { solo = min(solo, seconds) }
            }
        }
        guard best < .infinity else { return nil }
        return Best(secondsPerToken: best, soloSecondsPerToken: solo < .infinity ? solo : nil)
    }

    private func place(
        _ group: Int, _ used: [Int], _ first: Int, _ total: Double, _ slowest: Double,
        _ found: (Double, Int) -> Void
    ) {
        let layerCount = request.shape.layerCount
        let boundary = Double(request.shape.boundaryBytesPerToken.rawValue * groups[group].size)
        if first == layerCount {
            var turn = total
            if used.count > 1, let head = used.last {
                turn += hops[head][used[0]] + Double(groups[group].size * 4) / bytesPerSecond[head][used[0]]
            }
            return found(max(turn, slowest * Double(groups[group].count)) / Double(streamCount), used.count)
        }
        for node in nodes.indices where !used.contains(node) {
            let transfer = used.last.map { boundary / bytesPerSecond[$0][node] } ?? 0
            let hop = used.last.map { hops[$0][node] + transfer } ?? 0
            for end in first + 1...layerCount {
                guard let seconds = times[group][node][first][end] else { continue }
                place(group, used + [node], end, total + hop + seconds, max(slowest, transfer, seconds), found)
            }
        }
    }
}
