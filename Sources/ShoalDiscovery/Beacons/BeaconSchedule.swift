/// When one interface is announced on: several times at once, then often, then rarely. Pure.
package struct BeaconSchedule: Hashable, Sendable {
    /// Offsets from the start; losing a few of these still leaves one within three seconds.
    package static let first: [Duration] = [0, 200, 500, 1000, 1600, 2300].map(Duration.milliseconds)
    /// After the first ones, until `oftenUntil`.
    package static let often = Duration.seconds(2)
    package static let oftenUntil = Duration.seconds(30)
    /// From then on.
    package static let seldom = Duration.seconds(15)

    private var startedAt: Duration
    private var sentCount = 0
    /// When the next beacon is due.
    package private(set) var due: Duration

    /// Begins now: the first beacon is due at once.
    package init(now: Duration) {
        startedAt = now
        due = now
    }

    /// Whether a beacon is due; if so, plans the next one.
    package mutating func take(now: Duration) -> Bool {
        guard now >= due else { return false }
        sentCount += 1
        if sentCount < Self.first.count {
            due = max(startedAt + Self.first[sentCount], now)
            if due == now { due += Self.first[1] }
        } else {
            due = now + (now - startedAt < Self.oftenUntil ? Self.often : Self.seldom)
        }
        return true
    }
}
