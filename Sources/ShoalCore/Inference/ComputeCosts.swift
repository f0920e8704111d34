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

    /// Sizes are grouped by powers of two: bucket i is for 2^i up to 2^(i+1) - 1 tokens.
    package static let bucketCount =
        Limits.microBatchTokenCountMax.bitWidth
        - Limits.microBatchTokenCountMax
        .leadingZeroBitCount

    package private(set) var buckets: [Bucket] = []

    package init() {}

    /// Counts one micro-batch; those without tokens cost nothing worth counting.
    package mutating func add(tokenCount: Int, outputCount: Int, seconds: Double) {
        guard (1...Limits.microBatchTokenCountMax).contains(tokenCount), seconds.isFinite, seconds >= 0 else { return }
        let index = tokenCount.bitWidth - 1 - tokenCount.leadingZeroBitCount
        while buckets.count <= index { buckets.append(Bucket()) }
        buckets[index].batchCount += 1
        buckets[index].tokenCount += tokenCount
        buckets[index].outputCount += outputCount
        buckets[index].seconds += seconds
    }
}
