import ShoalCore

/// What micro-batches cost in one stage, by their size.
struct ComputeCosts: Sendable {
    /// Micro-batches of similar size.
    struct Bucket: Sendable {
        var batchCount = 0
        var tokenCount = 0
        /// Tokens behind which logits were computed.
        var outputCount = 0
        /// Of compute, without waiting.
        var seconds = 0.0
    }

    /// Sizes up to this one have a bucket each, bucket i for i + 1 tokens: kernels treat few tokens differently, and
    /// groups of answers are this large. Beyond, buckets double: 9 to 15 tokens, 16 to 31, and so on.
    static let exactSizeCount = 8

    private static func index(ofSize tokenCount: Int) -> Int {
        guard tokenCount > exactSizeCount else { return tokenCount - 1 }
        let doublings = exactSizeCount.leadingZeroBitCount - tokenCount.leadingZeroBitCount
        return exactSizeCount + doublings
    }

    private(set) var buckets: [Bucket] = []

    /// Counts one micro-batch; those without tokens cost nothing worth counting.
    mutating func add(tokenCount: Int, outputCount: Int, seconds: Double) {
        guard (1...Limits.microBatchTokenCountMax).contains(tokenCount), seconds.isFinite, seconds >= 0 else { return }
        let index = Self.index(ofSize: tokenCount)
        while buckets.count <= index { buckets.append(Bucket()) }
        buckets[index].batchCount += 1
        buckets[index].tokenCount += tokenCount
        buckets[index].outputCount += outputCount
        buckets[index].seconds += seconds
    }
}
