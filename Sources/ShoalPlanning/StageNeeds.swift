package import ShoalCore
import ShoalModel

/// How much memory stages need.
///
/// Weights, cache and compute buffers are what libllama allocates, to the byte on processors; the engine process and
/// the vocabulary are measured averages.
package struct StageNeeds: Sendable {
    /// The parts of a stage's memory.
    package struct Parts: Sendable, Hashable {
        package var weights: Int
        /// Keys and values, or states.
        package var cache: Int
        package var compute: Int
        /// The program, the file's header, the notes on the cache's cells and, in the last stage, the vocabulary.
        package var process: Int

        package var sum: Int { weights + cache + compute + process }
    }

    /// What an engine process takes before it holds anything.
    package static let processBytes = ByteCount(29 << 20)
    /// What libllama notes of each cell of a cache beside keys and values: two positions, a place in space and the set
    /// of its sequences (llama-kv-cells.h: `pos`, `ext`, `shift`, `seq`).
    private static let bytesPerCell = 4 + 12 + 4 + 32
    /// Kept free on top of the sum: one part in this many.
    package static let headRoomDivisor = 20
    /// Graphs of more layers have the same peak as those of three or four, whichever is even when they are.
    private static let graphLayerCountMax = 4

    private let request: PlanRequest
    /// Bytes of the layers before each one.
    private let layerBytesBefore: [Int]
    private let cacheBytesBefore: [Int]
    private let slidingBefore: [Int]
    private let otherBytes: Int
    private let lastBytes: Int
    private let cellCount: Int
    private let computeBytes: [GraphKind: Int]

    /// What the compute buffers of two stages have to have in common to be of one size.
    private struct GraphKind: Hashable {
        var isLast: Bool
        var layerCount: Int
        var hasWindow: Bool
        var hasFull: Bool
    }

    package init(_ request: PlanRequest) {
        self.request = request
        let shape = request.shape
        let cellsPerSequence = GraphLoad.cellsPerSequence(
            contextTokenCount: request.contextTokenCount, sequenceCount: request.sequenceCount,
            microBatchTokenCountMax: request.microBatchTokenCountMax)
        let cellCount = cellsPerSequence * request.sequenceCount
        self.cellCount = cellCount
        layerBytesBefore = StageNeeds.sums(shape.layerBytes.map(\.rawValue))
        cacheBytesBefore = StageNeeds.sums(
            (0..<shape.layerCount).map { layer in
                (shape.kvBytesPerToken[layer] * cellCount + shape.stateBytesPerSequence[layer] * request.sequenceCount)
                    .rawValue
            })
        slidingBefore = StageNeeds.sums(
            (0..<shape.layerCount).map { shape.isSlidingLayer.isEmpty || !shape.isSlidingLayer[$0] ? 0 : 1 })
        otherBytes = (shape.sharedBytes + shape.embeddingRowBytes).rawValue
        lastBytes = (shape.sharedBytes + shape.outputBytes).rawValue
        computeBytes = StageNeeds.computeBytes(request, cellCount: cellsPerSequence)
    }

    /// Tensors of layers `first..<end`, as `ModelShape.weightBytes(of:)` counts them.
    package func weightBytes(_ first: Int, _ end: Int) -> Int {
        layerBytesBefore[end] - layerBytesBefore[first] + (isLast(end) ? lastBytes : otherBytes)
    }

    /// What a stage of layers `first..<end` takes; without copies that depend on the machine.
    package func parts(_ first: Int, _ end: Int) -> Parts {
        let sliding = slidingBefore[end] - slidingBefore[first]
        let kind = GraphKind(
            isLast: isLast(end), layerCount: StageNeeds.graphLayerCount(end - first), hasWindow: sliding > 0,
            hasFull: sliding < end - first)
        let vocabulary = isLast(end) ? request.shape.vocabularyBytes : .zero
        let notes = ByteCount(StageNeeds.bytesPerCell * cellCount)
        return Parts(
            weights: weightBytes(first, end), cache: cacheBytesBefore[end] - cacheBytesBefore[first],
            compute: computeBytes[kind] ?? 0,
            process: (StageNeeds.processBytes + request.shape.headerBytes + vocabulary + notes).rawValue)
    }

    /// All of it and head-room.
    package func neededBytes(_ first: Int, _ end: Int) -> Int {
        let sum = parts(first, end).sum
        return sum + sum / StageNeeds.headRoomDivisor + (isLast(end) ? request.headExtraBytes.rawValue : 0)
    }

    /// Besides, in the last stage, on a machine that lays the output matrix out anew.
    package func outputCopyBytes(on speed: NodeSpeed?) -> Int {
        let shape = request.shape
        guard let type = shape.sharedOutputType, speed?.repackedTypes.contains(type) == true,
            shape.vocabularyTokenCount % StageNeeds.repackedRowMultiple == 0
        else { return 0 }
        let copy = shape.sharedOutputBytes.rawValue
        return copy + copy / StageNeeds.headRoomDivisor
    }

    /// Matrices of other heights keep their layout. Source: `ggml_repack_get_optimal_repack_type`, repack.cpp.
    private static let repackedRowMultiple = 8

    private func isLast(_ end: Int) -> Bool { end == request.shape.layerCount }

    private static func graphLayerCount(_ layerCount: Int) -> Int {
        layerCount <= graphLayerCountMax ? layerCount : graphLayerCountMax - layerCount % 2
    }

    private static func computeBytes(_ request: PlanRequest, cellCount: Int) -> [GraphKind: Int] {
        var result: [GraphKind: Int] = [:]
        let windows = request.shape.isSlidingLayer.contains(true)
        for isLast in [false, true] {
            for layerCount in 1...graphLayerCountMax {
                for (hasWindow, hasFull) in windows ? [(true, true), (true, false), (false, true)] : [(false, true)] {
                    guard layerCount > 1 || hasWindow != hasFull else { continue }
                    let kind = GraphKind(
                        isLast: isLast, layerCount: layerCount, hasWindow: hasWindow, hasFull: hasFull)
                    result[kind] = request.shape.graph.computeByteCount(load(kind, request, cellCount: cellCount))
                }
            }
        }
        return result
    }

    private static func load(_ kind: GraphKind, _ request: PlanRequest, cellCount: Int) -> GraphLoad {
        let tokenCount = request.microBatchTokenCountMax
        let outputCount =
            kind.isLast
            ? GraphLoad.outputCountMax(tokenCount: tokenCount, sequenceCount: request.sequenceCount) : tokenCount
        return GraphLoad(
            tokenCount: tokenCount, outputCount: outputCount, sequenceCount: request.sequenceCount,
            cellCount: cellCount, vocabularyTokenCount: kind.isLast ? request.shape.vocabularyTokenCount : 1,
            isSlidingLayer: (0..<kind.layerCount).map { kind.hasWindow && (!kind.hasFull || $0 != 1) })
    }

    private static func sums(_ values: [Int]) -> [Int] {
        values.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1) }
    }
}
