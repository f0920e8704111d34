import ShoalCore
import ShoalLinks
import Testing

@Suite("Link health")
struct LinkHealthTests {
    private static let silenceMax = Duration.seconds(5)

    @Test("a silent peer is given up when the limit is reached, not before")
    func silence() {
        var health = LinkHealth(silenceMax: Self.silenceMax, now: .seconds(100))
        for second in 101..<105 {
            #expect(health.tick(now: .seconds(second)) == .sendPing(number: UInt64(second - 100)))
        }
        guard case .close(let error) = health.tick(now: .seconds(105)) else {
            Issue.record("a link silent for the whole limit was kept")
            return
        }
        #expect(error.code == .linkLost)
        #expect(error.message.contains("silent"))
    }

    @Test("any frame is a sign of life")
    func heard() {
        var health = LinkHealth(silenceMax: Self.silenceMax, now: .zero)
        health.heard(now: .seconds(4))
        #expect(health.tick(now: .seconds(8)) == .sendPing(number: 1))
        #expect(health.tick(now: .seconds(9)) != .sendPing(number: 2))
    }

    @Test("time that seems to go back does not hide a sign of life")
    func backwards() {
        var health = LinkHealth(silenceMax: Self.silenceMax, now: .seconds(10))
        health.heard(now: .seconds(3))
        #expect(health.tick(now: .seconds(14)) == .sendPing(number: 1))
    }

    @Test("the round trip starts with the first pong and then moves by an eighth")
    func roundTrip() {
        var health = LinkHealth(silenceMax: Self.silenceMax, now: .zero)
        #expect(health.roundTrip == nil)
        _ = health.tick(now: .seconds(1))
        health.pong(number: 1, now: .seconds(1) + .milliseconds(80))
        #expect(health.roundTrip == .milliseconds(80))
        _ = health.tick(now: .seconds(2))
        health.pong(number: 2, now: .seconds(2) + .milliseconds(160))
        #expect(health.roundTrip == .milliseconds(90))
    }

    @Test("a pong that answers no ping in flight is a sign of life and no measurement")
    func foreignPong() {
        var health = LinkHealth(silenceMax: Self.silenceMax, now: .zero)
        _ = health.tick(now: .seconds(1))
        health.pong(number: 7, now: .seconds(4))
        #expect(health.roundTrip == nil)
        #expect(health.tick(now: .seconds(8)) == .sendPing(number: 2))
    }
}
