import ShoalCore
import ShoalReach
import Testing

@Suite("When links are measured")
struct LinkProbeScheduleTests {
    private let a = Samples.node(1)
    private let b = Samples.node(2)
    private let c = Samples.node(3)

    private func schedule(_ nodes: [NodeID]) -> LinkProbeSchedule {
        var configuration = LinkProbeSchedule.Configuration()
        configuration.bulkDelay = .zero
        var schedule = LinkProbeSchedule(own: a, configuration: configuration)
        for node in nodes { schedule.addressesKnown([Samples.address(2)], of: node, now: .zero) }
        return schedule
    }

    @Test("a new address is dialled at once and again after ten minutes")
    func dialling() {
        var schedule = schedule([b])
        #expect(schedule.tick(now: .zero) == [.dial(b, address: Samples.address(2))])
        #expect(schedule.tick(now: .seconds(1)).isEmpty)
        schedule.dialEnded(b, address: Samples.address(2), now: .seconds(2))
        #expect(schedule.nextWake == .seconds(602))
        #expect(schedule.tick(now: .seconds(601)).isEmpty)
        #expect(schedule.tick(now: .seconds(602)).count == 1)
    }

    @Test("a linked node is measured with bulk first, then pinged each minute")
    func measuring() {
        var schedule = schedule([b])
        _ = schedule.tick(now: .zero)
        schedule.dialEnded(b, address: Samples.address(2), now: .zero)
        schedule.linkChanged(to: b, isLinked: true, now: .seconds(1))
        let bulk = LinkProbeSchedule.Action.bulk(b, byteCount: 10_000_000)
        #expect(schedule.tick(now: .seconds(1)) == [bulk])
        schedule.measured(b, bulk, succeeded: true, now: .seconds(2))
        #expect(schedule.nextWake == .seconds(62))
        #expect(schedule.tick(now: .seconds(62)) == [.ping(b, count: 9)])
    }

    @Test("a new link is pinged at once and left alone before bulk")
    func bulkDelay() {
        var schedule = LinkProbeSchedule(own: a)
        schedule.addressesKnown([], of: b, now: .zero)
        schedule.linkChanged(to: b, isLinked: true, now: .seconds(1))
        let ping = LinkProbeSchedule.Action.ping(b, count: 9)
        #expect(schedule.tick(now: .seconds(1)) == [ping])
        schedule.measured(b, ping, succeeded: true, now: .seconds(2))
        #expect(schedule.tick(now: .seconds(10)).isEmpty)
        #expect(schedule.tick(now: .seconds(11)) == [.bulk(b, byteCount: 10_000_000)])
    }

    @Test("nothing is measured on a link that carries an answer")
    func busy() {
        var schedule = schedule([b])
        schedule.linkChanged(to: b, isLinked: true, now: .zero)
        schedule.busyChanged(b, isBusy: true)
        #expect(schedule.tick(now: .seconds(1)).isEmpty)
        #expect(schedule.nextWake == nil)
        schedule.busyChanged(b, isBusy: false)
        #expect(schedule.tick(now: .seconds(2)).count == 2)
    }

    @Test("one transfer runs at a time, and a failed one is repeated after a pause")
    func oneAtATime() {
        var schedule = schedule([b, c])
        for node in [b, c] { schedule.linkChanged(to: node, isLinked: true, now: .zero) }
        let first = schedule.tick(now: .zero)
        #expect(first.count { if case .bulk = $0 { true } else { false } } == 1)
        let bulk = LinkProbeSchedule.Action.bulk(b, byteCount: 10_000_000)
        schedule.measured(b, bulk, succeeded: false, now: .seconds(1))
        #expect(schedule.tick(now: .seconds(1)) == [.bulk(c, byteCount: 10_000_000)])
    }

    @Test("a lost link and changed interfaces make addresses due again")
    func changes() {
        var schedule = schedule([b])
        _ = schedule.tick(now: .zero)
        schedule.dialEnded(b, address: Samples.address(2), now: .zero)
        schedule.linkChanged(to: b, isLinked: true, now: .zero)
        schedule.linkChanged(to: b, isLinked: false, now: .seconds(5))
        #expect(schedule.tick(now: .seconds(5)) == [.dial(b, address: Samples.address(2))])
        schedule.dialEnded(b, address: Samples.address(2), now: .seconds(6))
        schedule.interfacesChanged(now: .seconds(7))
        #expect(schedule.tick(now: .seconds(7)).count == 1)
    }

    @Test("dials at once, addresses per node and peers are bounded")
    func bounds() {
        var schedule = LinkProbeSchedule(own: a)
        schedule.addressesKnown((0..<100).map { "10.1.0.\($0):1" }, of: b, now: .zero)
        #expect(schedule.tick(now: .zero).count == LinkProbeSchedule.Configuration().dialCountMax)
        #expect(schedule.nextWake == nil)
        schedule.addressesKnown(["10.0.0.1:1"], of: a, now: .zero)
        schedule.forget(b)
        #expect(schedule.tick(now: .seconds(1)).isEmpty)
    }
}
