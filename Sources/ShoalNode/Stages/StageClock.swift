import ShoalCore

/// What a node measures of its own stage: how long its engine has each frame, and how long the link to the next stage
/// takes. A value; `now` is any monotonic time.
struct StageClock: Sendable {
    /// Frames that an engine may have; a pipeline has far fewer under way.
    private static let frameCountMax = 1024
    /// The share of a new measurement in the round trip. Source: RFC 6298, alpha.
    private static let smoothing = 8

    /// Oldest first: an engine answers in order.
    private var given: [(number: UInt64, at: Duration)] = []
    private var answeredAt: Duration?
    private var ping: (number: UInt64, at: Duration)?
    private var nextPingNumber: UInt64 = 1
    private(set) var roundTrip: Duration?

    /// A micro-batch goes to the engine.
    mutating func gave(_ number: UInt64, now: Duration) {
        guard given.count < Self.frameCountMax else { return }
        given.append((number, now))
    }

    /// The engine answered: how long it had the frame, and how long of that it was busy with earlier ones; nil if that
    /// is not known.
    mutating func took(_ number: UInt64, now: Duration) -> (held: Duration, queued: Duration)? {
        defer { answeredAt = now }
        guard let index = given.firstIndex(where: { $0.number == number }) else { return nil }
        let start = given[index].at
        given.removeSubrange(...index)
        return (now - start, max(.zero, (answeredAt ?? start) - start))
    }

    /// The number of the next ping on the link to the next stage.
    mutating func pings(now: Duration) -> UInt64 {
        defer { nextPingNumber += 1 }
        ping = (nextPingNumber, now)
        return nextPingNumber
    }

    mutating func ponged(_ number: UInt64, now: Duration) {
        guard let ping, ping.number == number else { return }
        self.ping = nil
        let sample = now - ping.at
        roundTrip = roundTrip.map { ($0 * (Self.smoothing - 1) + sample) / Self.smoothing } ?? sample
    }

    /// Another generation, with other frames and another link.
    mutating func reset() { self = StageClock() }
}
