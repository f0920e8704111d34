import ShoalCore
import ShoalModel
import ShoalPlanning

/// Counts up in a way that repeats for a seed. Source: SplitMix64, Steele, Lea and Flood 2014.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

let mebibyte = 1 << 20

/// A model whose layers weigh what is said, in MiB.
func shape(layersMiB: [Int], outputMiB: Int = 10, peculiarLayerCount: Int? = nil) -> ModelShape {
    ModelShape(
        family: "llama", embeddingWidth: 64, vocabularyTokenCount: 1000, trainedContextTokenCount: 2048,
        layerBytes: layersMiB.map { ByteCount($0 * mebibyte) }, embeddingBytes: ByteCount(outputMiB * mebibyte),
        embeddingRowBytes: ByteCount(68), outputBytes: ByteCount(outputMiB * mebibyte), sharedBytes: ByteCount(256),
        kvBytesPerToken: layersMiB.map { _ in ByteCount(64) },
        stateBytesPerSequence: layersMiB.map { _ in .zero }, peculiarLayerCount: peculiarLayerCount)
}

func request(_ shape: ModelShape, layers: [(String, Int, Int)] = []) -> PlanRequest {
    var request = PlanRequest(modelName: "sample", shape: shape)
    request.assignments = layers.compactMap { name, first, last in
        LayerRange(first: first, end: last + 1).map { LoadRequest.Assignment(nodeName: name, layers: $0) }
    }
    return request
}

/// Nodes named a, b, c and so on.
func nodes(_ availableMiB: [Int], threads: [Int] = []) -> [PlannerNode] {
    availableMiB.enumerated().compactMap { number, size in
        guard let id = NodeID(String(number + 10, radix: 16)) else { return nil }
        let name = String(UnicodeScalar(UInt8(ascii: "a") + UInt8(number)))
        return PlannerNode(
            id: id, name: name, availableBytes: ByteCount(size * mebibyte),
            threadCount: number < threads.count ? threads[number] : 1)
    }
}

/// Tries every order of every subset of nodes with every cut; the least number of stages, then the least bottleneck.
func bruteForce(_ request: PlanRequest, _ nodes: [PlannerNode]) -> (stageCount: Int, bottleneck: Double)? {
    let needs = StageNeeds(request)
    let layerCount = request.shape.layerCount
    var best: (stageCount: Int, bottleneck: Double)?
    func place(_ first: Int, _ used: Set<Int>, _ bottleneck: Double) {
        if first == layerCount {
            let found = (stageCount: used.count, bottleneck: bottleneck)
            if let old = best, (old.stageCount, old.bottleneck) <= (found.stageCount, found.bottleneck) { return }
            best = found
            return
        }
        for node in nodes.indices where !used.contains(node) {
            for end in first + 1...layerCount {
                guard let range = LayerRange(first: first, end: end), request.shape.problem(with: range) == nil else {
                    continue
                }
                guard needs.neededBytes(first, end) <= nodes[node].availableBytes.rawValue else { continue }
                let cost = needs.cost(first, end, on: nodes[node], usesMeasurements: false)
                place(end, used.union([node]), max(bottleneck, cost))
            }
        }
    }
    place(0, [], 0)
    return best
}
