/// Lets each sender through for a burst and then at a steady rate; knows a bounded number of senders. Pure.
struct SourceRateLimiter: Sendable {
    private struct Bucket: Sendable {
        var tokens: Double
        var filledAt: Duration
    }

    private let burst: Double
    private let perSecond: Double
    private let sourceCountMax: Int
    private var buckets: [IPAddress: Bucket] = [:]

    init(burst: Int, perSecond: Double, sourceCountMax: Int) {
        self.burst = Double(burst)
        self.perSecond = perSecond
        self.sourceCountMax = sourceCountMax
    }

    /// Whether one more datagram of `source` is looked at.
    mutating func admits(_ source: IPAddress, now: Duration) -> Bool {
        var bucket = buckets[source] ?? Bucket(tokens: burst, filledAt: now)
        if buckets[source] == nil, buckets.count >= sourceCountMax {
            forgetIdle(now: now)
            // So many senders at once are not a home network: strangers wait.
            guard buckets.count < sourceCountMax else { return false }
        }
        bucket = filled(bucket, now: now)
        let isAdmitted = bucket.tokens >= 1
        if isAdmitted { bucket.tokens -= 1 }
        buckets[source] = bucket
        return isAdmitted
    }

    private mutating func forgetIdle(now: Duration) {
        buckets = buckets.filter { filled($0.value, now: now).tokens < burst }
    }

    private func filled(_ bucket: Bucket, now: Duration) -> Bucket {
        let seconds = max(0, (now - bucket.filledAt) / .seconds(1))
        return Bucket(tokens: min(burst, bucket.tokens + seconds * perSecond), filledAt: now)
    }
}
