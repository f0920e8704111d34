/// What micro-batches cost in one stage, by their size; counts up since the stage was loaded.
package struct ComputeCosts: Hashable, Sendable, Codable {
    /// Micro-batches of similar size.
    package struct Bucket: Hashable, Sendable, Codable {
        package var batchCount = 0
        package var tokenCount = 0
        /// Tokens behind which logits were computed.
        package var outputCount = 0
        /// Of compute, without waiting.
        package var seconds = 0.0

        package init() {}

        /// What was counted after `before`.
        package func since(_ before: Bucket) -> Bucket {
            var difference = self
            difference.batchCount -= before.batchCount
            difference.tokenCount -= before.tokenCount
            difference.outputCount -= before.outputCount
            difference.seconds -= before.seconds
            return difference
        }
    }

    /// Sizes up to this one have a bucket each, bucket i for i + 1 tokens: kernels treat few tokens differently, and
    /// groups of answers are this large. Beyond, buckets double: 9 to 15 tokens, 16 to 31, and so on.
    package static let exactSizeCount = 8
    package static let bucketCount = index(ofSize: Limits.microBatchTokenCountMax) + 1

    private static func index(ofSize tokenCount: Int) -> Int {
        guard tokenCount > exactSizeCount else { return tokenCount - 1 }
        let doublings = exactSizeCount.leadingZeroBitCount - tokenCount.leadingZeroBitCount
        return exactSizeCount + doublings
    }

    package private(set) var buckets: [Bucket] = []

    package init() {}

    /// Counts one micro-batch; those without tokens cost nothing worth counting.
    package mutating func add(tokenCount: Int, outputCount: Int, seconds: Double) {
        guard (1...Limits.microBatchTokenCountMax).contains(tokenCount), seconds.isFinite, seconds >= 0 else { return }
        let index = Self.index(ofSize: tokenCount)
        while buckets.count <= index { buckets.append(Bucket()) }
        buckets[index].batchCount += 1
        buckets[index].tokenCount += tokenCount
        buckets[index].outputCount += outputCount
        buckets[index].seconds += seconds
    }
}
