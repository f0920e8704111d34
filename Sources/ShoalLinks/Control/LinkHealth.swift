package import ShoalCore

/// When to probe a link, and when to give it up: a pure decision, `now` is any monotonic time.
///
/// Any frame counts as a sign of life, so a busy link never dies of a slow answer to one ping; pings only make an idle
/// link talk. A single silence limit, without a suspicion phase, because a link carries no verdict about the node: the
/// node's owner redials. Source of the 1 s and 5 s defaults: stalls of 100 to 300 ms are normal on wireless links.
package struct LinkHealth: Sendable {
    /// What the owner does after `tick`.
    package enum Action: Hashable, Sendable {
        case sendPing(number: UInt64)
        case close(ShoalError)
    }

    /// The share of a new measurement in the estimate. Source: RFC 6298, alpha.
    private static let smoothing = 8

    private let silenceMax: Duration
    private var lastHeard: Duration
    private var nextPingNumber: UInt64 = 1
    private var pingInFlight: (number: UInt64, sent: Duration)?

    /// Smoothed time from a ping to its pong; nil before the first.
    package private(set) var roundTrip: Duration?

    package init(silenceMax: Duration, now: Duration) {
        self.silenceMax = silenceMax
        lastHeard = now
    }

    /// Any frame of the peer came.
    package mutating func heard(now: Duration) { lastHeard = max(lastHeard, now) }

    /// The peer answered. A pong that answers no ping in flight counts as a sign of life only.
    package mutating func pong(number: UInt64, now: Duration) {
        heard(now: now)
        guard let ping = pingInFlight, ping.number == number else { return }
        pingInFlight = nil
        let sample = max(now - ping.sent, .zero)
        roundTrip = roundTrip.map { ($0 * (Self.smoothing - 1) + sample) / Self.smoothing } ?? sample
    }

    /// Called once per heartbeat interval.
    package mutating func tick(now: Duration) -> Action {
        let silence = now - lastHeard
        guard silence < silenceMax else {
            return .close(ShoalError(.linkLost, "the peer was silent for \(silence); the limit is \(silenceMax)"))
        }
        let number = nextPingNumber
        nextPingNumber += 1
        pingInFlight = (number, now)
        return .sendPing(number: number)
    }
}
