/// The least of the values of the last one to two periods.
struct RecentMinimum: Sendable {
    private let period: Duration
    private var periodStart: Duration?
    private var current: Double?
    private var previous: Double?

    init(period: Duration) { self.period = period }

    /// Nil before the first value.
    var value: Double? {
        guard let current else { return previous }
        return previous.map { min($0, current) } ?? current
    }

    mutating func add(_ value: Double, now: Duration) {
        if let start = periodStart, now - start < period {
            current = current.map { min($0, value) } ?? value
            return
        }
        previous = current
        current = value
        periodStart = now
    }
}
