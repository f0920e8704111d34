/// How often one address may try to be admitted, as a value; `now` is any monotonic time.
///
/// A bucket per address: `burst` attempts at once, then `perSecond`. The table is bounded; when it is full, the address
/// that was quiet for longest is forgotten, which gives it back its burst.
package struct AttemptLimit: Sendable {
    private struct Bucket {
        var attempts: Double
        var updated: Duration
    }

    private let perSecond: Double
    private let burst: Double
    private let addressCountMax: Int
    private var buckets: [String: Bucket] = [:]

    package init(perSecond: Double = 5, burst: Double = 20, addressCountMax: Int = 1024) {
        self.perSecond = perSecond
        self.burst = burst
        self.addressCountMax = addressCountMax
    }

    /// Counts an attempt; false when there were too many.
    package mutating func allows(_ address: String, now: Duration) -> Bool {
        var bucket = buckets[address] ?? Bucket(attempts: 0, updated: now)
        let elapsed = (now - bucket.updated) / .seconds(1)
        bucket = Bucket(attempts: max(0, bucket.attempts - elapsed * perSecond), updated: now)
        guard bucket.attempts + 1 <= burst else { return false }
        bucket.attempts += 1
        if buckets[address] == nil, buckets.count >= addressCountMax,
            let quietest = buckets.min(by: { $0.value.updated < $1.value.updated })?.key
        {
            buckets[quietest] = nil
        }
        buckets[address] = bucket
        return true
    }
}
