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
        stateBytesPerSequence: layersMiB.map { _ in .zero }, peculiarLayerCount: peculiarLayerCount,
        layerWork: layersMiB.map { work($0 * mebibyte) }, outputWork: work(outputMiB * mebibyte),
        graph: graph)
}

private var graph: GraphShape {
    var graph = GraphShape(embeddingWidth: 64)
    (graph.queryWidth, graph.keyWidth, graph.valueWidth, graph.feedForwardWidth) = (64, 32, 32, 128)
    return graph
}

/// Of a layer of 8-bit weights.
private func work(_ byteCount: Int) -> LayerWork {
    LayerWork(
        weights: [.init(type: "q8_0", byteCount: byteCount, elementCount: byteCount / 34 * 32)],
        attentionElementCount: 512, activationElementCount: 2000, operationCount: 20)
}

/// A node's speed, `factor` times as slow as a usual one.
func speed(_ factor: Double = 1) -> NodeSpeed {
    NodeSpeed(
        engineBuild: "test", device: "CPU", threadCount: 1,
        matrices: [
            "q8_0": .init(secondsPerByte: 1e-10 * factor, secondsPerElementAndToken: 2e-11 * factor),
            "f16": .init(secondsPerByte: 0.9e-10 * factor, secondsPerElementAndToken: 4e-11 * factor),
        ],
        attentionSecondsPerElement: 2e-10 * factor, promptAttentionSecondsPerElement: 1e-10 * factor,
        activationSecondsPerElement: 1e-9 * factor, secondsPerOperation: 1e-6 * factor, memoryBytesPerSecond: 1e10)
}

/// Every pair of the nodes, in both directions.
func links(_ nodes: [PlannerNode], roundTrip: Double = 1e-3, bytesPerSecond: Double = 1e8) -> [PlannerLink] {
    nodes.flatMap { from in
        nodes.filter { $0.id != from.id }.map {
            PlannerLink(from: from.id, to: $0.id, roundTripSeconds: roundTrip, bytesPerSecond: bytesPerSecond)
        }
    }
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
        let digits = String(number + 10, radix: 16)
        guard let id = NodeID(String(repeating: "0", count: 64 - digits.count) + digits) else { return nil }
        let name = number < 26 ? String(UnicodeScalar(UInt8(ascii: "a") + UInt8(number))) : "node\(number)"
        return PlannerNode(
            id: id, name: name, availableBytes: ByteCount(size * mebibyte),
            threadCount: number < threads.count ? threads[number] : 1)
    }
}
