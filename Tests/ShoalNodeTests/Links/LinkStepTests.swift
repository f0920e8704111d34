import ShoalCore
import ShoalReach
import Testing

@testable import ShoalNode

@Suite("What is tried for a connection")
struct LinkStepTests {
    private let own = NodeID("0a") ?? .random()
    private let peer = NodeID("0b") ?? .random()
    private let third = NodeID("0c") ?? .random()

    private func steps(_ way: DialPlan.Way, isControlRelayed: Bool = false, relays: [NodeID]? = nil) -> [LinkStep] {
        LinkStep.steps(
            DialPlan(first: own, second: peer, way: way, reasons: []), addresses: ["p:1", "p:2", "p:3", "p:4"],
            relays: relays ?? [third], isControlRelayed: isControlRelayed)
    }

    @Test("what was measured comes first, everything else after it")
    func measured() {
        let all = LinkStep.dial(addresses: ["p:1", "p:2", "p:3"])
        #expect(
            steps(.dial(by: own, address: "p:2"))
                == [.dial(addresses: ["p:2"]), .askToDial, .relay(through: third), all])
        #expect(steps(.dial(by: peer, address: "o:1")) == [.askToDial, all, .relay(through: third)])
        #expect(steps(.relay(through: third)) == [.relay(through: third), all, .askToDial])
    }

    @Test("without measurements: dial, ask to be dialled, relay; the relay first if even the control link needs it")
    func unmeasured() {
        let dial = LinkStep.dial(addresses: ["p:1", "p:2", "p:3"])
        #expect(steps(.untested) == [dial, .askToDial, .relay(through: third)])
        #expect(steps(.blocked) == [dial, .askToDial, .relay(through: third)])
        #expect(steps(.untested, isControlRelayed: true) == [.relay(through: third), dial, .askToDial])
        #expect(steps(.untested, relays: []) == [dial, .askToDial])
    }

    @Test("a node without any link is linked through another one after a while, by the smaller id first")
    func wishes() {
        var early = RelayWishes(own: own)
        var late = RelayWishes(own: peer)
        #expect(early.due(unlinked: [peer], now: .zero).isEmpty)
        #expect(late.due(unlinked: [own], now: .zero).isEmpty)
        #expect(early.due(unlinked: [peer], now: .seconds(2)) == [peer])
        #expect(early.due(unlinked: [peer], now: .seconds(3)).isEmpty)
        #expect(late.due(unlinked: [own], now: .seconds(5)).isEmpty)
        #expect(late.due(unlinked: [own], now: .seconds(6)) == [own])
        early.ended(peer, succeeded: false, now: .seconds(3))
        #expect(early.due(unlinked: [peer], now: .seconds(4)).isEmpty)
        #expect(early.due(unlinked: [peer], now: .seconds(5)) == [peer])
        early.ended(peer, succeeded: true, now: .seconds(6))
        #expect(early.due(unlinked: [], now: .seconds(100)).isEmpty)
        #expect(early.due(unlinked: [peer], now: .seconds(101)).isEmpty)
        #expect(early.due(unlinked: [peer], now: .seconds(103)) == [peer])
    }
}
