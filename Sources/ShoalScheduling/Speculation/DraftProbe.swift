/// When a draft model that does not pay is tried again: a few guesses, in growing intervals.
struct DraftProbe: Sendable {
    /// Guesses that one trial waits for.
    private static let guessCount = 16
    private static let firstInterval = Duration.seconds(5)
    private static let intervalMax = Duration.seconds(80)

    private var interval = DraftProbe.firstInterval
    private var nextAt: Duration?
    private var left = 0

    /// Called while it does not pay; begins a trial when it is time.
    mutating func isDue(now: Duration) -> Bool {
        guard left == 0 else { return true }
        guard let nextAt else {
            self.nextAt = now + interval
            return false
        }
        guard now >= nextAt else { return false }
        left = Self.guessCount
        return true
    }

    /// A guess was judged.
    mutating func judged(now: Duration) {
        guard left > 0 else { return }
        left -= 1
        guard left == 0 else { return }
        interval = min(Self.intervalMax, interval * 2)
        nextAt = now + interval
    }

    /// It pays.
    mutating func succeeded() { self = DraftProbe() }
}
