package import ShoalCore
import ShoalModel

/// How much memory stages need.
package struct StageNeeds: Sendable {
    /// What an engine process takes before it holds anything.
    package static let processBytes = ByteCount(32 << 20)
    /// Kept free on top of the sum: one part in this many.
    package static let headRoomDivisor = 20
    /// Rows of activations that a graph is taken to keep at once, per token of a micro-batch: the residual, norms,
    /// projections and the widened feed-forward rows. An estimate, on the large side.
    package static let activationRowCount = 16

    private let request: PlanRequest
    /// Bytes of the layers before each one.
    private let layerBytesBefore: [Int]
    private let cacheBytesBefore: [Int]
    private let otherBytes: Int
    private let lastBytes: Int

    package init(_ request: PlanRequest) {
        self.request = request
        let shape = request.shape
        layerBytesBefore = StageNeeds.sums(shape.layerBytes.map(\.rawValue))
        cacheBytesBefore = StageNeeds.sums(
            (0..<shape.layerCount).map { layer in
                let perToken = shape.kvBytesPerToken[layer] * request.contextTokenCount
                return ((perToken + shape.stateBytesPerSequence[layer]) * request.sequenceCount).rawValue
            })
        otherBytes = (shape.sharedBytes + shape.embeddingRowBytes).rawValue
        lastBytes = (shape.sharedBytes + shape.outputBytes).rawValue
    }

    /// Tensors of layers `first..<end`, as `ModelShape.weightBytes(of:)` counts them.
    package func weightBytes(_ first: Int, _ end: Int) -> Int {
        layerBytesBefore[end] - layerBytesBefore[first] + (isLast(end) ? lastBytes : otherBytes)
    }

    /// Weights, cache, compute buffers, the process and head-room.
    package func neededBytes(_ first: Int, _ end: Int) -> Int {
        let cache = cacheBytesBefore[end] - cacheBytesBefore[first]
        let sum = weightBytes(first, end) + cache + computeBytes(isLast: isLast(end)) + StageNeeds.processBytes.rawValue
        return sum + sum / StageNeeds.headRoomDivisor
    }

    private func isLast(_ end: Int) -> Bool { end == request.shape.layerCount }

    /// Activations and the attention mask of one micro-batch; the last stage also has logits, one row per sequence
    /// (`n_outputs_max` of the engine's context).
    private func computeBytes(isLast: Bool) -> Int {
        let shape = request.shape
        let rows = request.microBatchTokenCountMax
        let activations = rows * shape.embeddingWidth * StageNeeds.activationRowCount * 4
        let mask = rows * request.contextTokenCount * 2
        return activations + mask + (isLast ? request.sequenceCount * shape.vocabularyTokenCount * 4 : 0)
    }

    private static func sums(_ values: [Int]) -> [Int] {
        values.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1) }
    }
}
