import ShoalCore
import ShoalModel

/// Layers `first..<end` on one node, by its index.
struct Piece: Hashable, Sendable {
    var node: Int
    var first: Int
    var end: Int
}

/// What placements cost: the numbers that the search compares, looked up in constant time.
///
/// With N requests in G groups, a group being the sequences that share a micro-batch, a token of every request takes
/// one turn: all groups through the slowest stage one after the other, or one group through all stages and links and
/// back to the first stage, whichever takes longer. `score` is the turn's time over N, for the best G. One request is
/// the case N = 1: the time of a token through all stages.
final class PlanCosts {
    /// One way to cut the requests into groups.
    struct Grouping {
        var groupCount: Int
        var work: StageSpeed.Work
        /// Of a group's frame between stages.
        var boundaryByteCount: Int
    }

    let request: PlanRequest
    let nodes: [PlannerNode]
    let needs: StageNeeds
    let links: LinkTimes
    let speeds: [StageSpeed]
    /// Requests that are computed side by side.
    let streamCount: Int
    let groupings: [Grouping]
    /// `layersBefore[grouping][node * (layerCount + 1) + layer]`: seconds of the layers before one.
    private let layersBefore: [[Double]]
    private let outputCopyBytes: [Int]
    /// `outputs[grouping][node]`.
    private let outputs: [[Double]]

    var layerCount: Int { request.shape.layerCount }

    /// `needs` are those of `request`.
    init(_ request: PlanRequest, needs: StageNeeds, nodes: [PlannerNode], links: LinkTimes, streamCount: Int) {
        self.request = request
        self.needs = needs
        outputCopyBytes = nodes.map { needs.outputCopyBytes(on: $0.speed) }
        self.nodes = nodes
        self.links = links
        self.streamCount = streamCount
        let speeds = nodes.map { StageSpeed(shape: request.shape, modelName: request.modelName, node: $0) }
        self.speeds = speeds
        let groupings = PlanCosts.groupings(of: streamCount, request)
        self.groupings = groupings
        layersBefore = groupings.map { grouping in
            speeds.flatMap { speed in
                speed.layerSeconds(grouping.work).reduce(into: [0]) { $0.append(($0.last ?? 0) + $1) }
            }
        }
        outputs = groupings.map { grouping in speeds.map { $0.outputSeconds(grouping.work) } }
    }

    func fits(_ piece: Piece) -> Bool {
        let node = nodes[piece.node]
        guard piece.end - piece.first <= node.layerCountMax ?? .max else { return false }
        guard let accelerator = node.acceleratorBytes else {
            return neededBytes(piece) <= node.availableBytes.rawValue
        }
        let process = needs.parts(piece.first, piece.end).process
        return neededBytes(piece) - process <= accelerator.rawValue && process <= node.availableBytes.rawValue
    }

    /// On this node, head-room included.
    func neededBytes(_ piece: Piece) -> Int {
        needs.neededBytes(piece.first, piece.end) + (piece.end == layerCount ? outputCopyBytes[piece.node] : 0)
    }

    func isLegal(_ first: Int, _ end: Int) -> Bool {
        guard request.shape.peculiarLayerCount != nil else { return true }
        return LayerRange(first: first, end: end).map { request.shape.problem(with: $0) == nil } ?? false
    }

    /// Time of one group in one stage.
    func seconds(_ piece: Piece, _ grouping: Int) -> Double {
        let base = piece.node * (layerCount + 1)
        let table = layersBefore[grouping]
        return table[base + piece.end] - table[base + piece.first] + StageSpeed.secondsPerMicroBatch
            + (piece.end == layerCount ? outputs[grouping][piece.node] : 0)
    }

    /// The least time that any node could need for the layers from `layer` on.
    func leastSecondsFrom(_ layer: Int, _ grouping: Int, among candidates: [Int]) -> Double {
        let table = layersBefore[grouping]
        let least = candidates.map { node in
            table[node * (layerCount + 1) + layerCount] - table[node * (layerCount + 1) + layer]
        }
        return least.min() ?? 0
    }

    func hopSeconds(from: Int, to: Int, _ grouping: Int) -> Double {
        links.seconds(from: from, to: to, byteCount: groupings[grouping].boundaryByteCount)
    }

    /// How long a group's frame occupies a link: a bottleneck as a stage is one.
    func transferSeconds(from: Int, to: Int, _ grouping: Int) -> Double {
        links.transferSeconds(from: from, to: to, byteCount: groupings[grouping].boundaryByteCount)
    }

    /// From the last stage, which chooses the tokens, back to the first one.
    func returnSeconds(from: Int, to: Int, _ grouping: Int) -> Double {
        from == to ? 0 : links.seconds(from: from, to: to, byteCount: groupings[grouping].work.tokenCount * 4)
    }

    /// Seconds per token, of all requests together.
    func score(total: Double, bottleneck: Double, _ grouping: Int) -> Double {
        max(Double(groupings[grouping].groupCount) * bottleneck, total) / Double(streamCount)
    }

    /// Of a whole placement, with the best grouping.
    func score(_ pieces: [Piece]) -> Double {
        groupings.indices.map { score(pieces, $0) }.min() ?? .infinity
    }

    func score(_ pieces: [Piece], _ grouping: Int) -> Double {
        var total = 0.0
        var bottleneck = 0.0
        var before: Int?
        for piece in pieces {
            if let before {
                total += hopSeconds(from: before, to: piece.node, grouping)
                bottleneck = max(bottleneck, transferSeconds(from: before, to: piece.node, grouping))
            }
            let seconds = seconds(piece, grouping)
            total += seconds
            bottleneck = max(bottleneck, seconds)
            before = piece.node
        }
        if let first = pieces.first?.node, let last = before { total += returnSeconds(from: last, to: first, grouping) }
        return score(total: total, bottleneck: bottleneck, grouping)
    }

    /// One group, every request its own group, and the powers of two between.
    private static func groupings(of streamCount: Int, _ request: PlanRequest) -> [Grouping] {
        var counts: [Int] = []
        var count = 1
        while count < streamCount {
            counts.append(count)
            count *= 2
        }
        counts.append(streamCount)
        return counts.map { count in
            let size = (streamCount + count - 1) / count
            return Grouping(
                groupCount: count,
                work: StageSpeed.Work(
                    tokenCount: size, cachedTokenCount: request.promptTokenCount, outputCount: size),
                boundaryByteCount: request.shape.boundaryBytesPerToken.rawValue * size)
        }
    }
}
