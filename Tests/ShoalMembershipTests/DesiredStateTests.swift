import ShoalCore
import ShoalMembership
import Testing

@Suite("Desired state")
struct DesiredStateTests {
    private let membership = Membership(node: nodeID(0), life: 1, now: .zero)
    private let reign = Term(counter: 2, leader: nodeID(0), life: 1)
    private let earlier = Term(counter: 1, leader: nodeID(5), life: 1)
    private let slot = SlotID(rawValue: 1)

    private func instance(_ id: UInt64, _ phase: InstancePhase, under term: Term) -> ObservedInstance {
        ObservedInstance(
            id: InstanceID(rawValue: id), slot: slot, model: "m", phase: phase, startedUnder: term, ownedUnder: term)
    }

    private func report(_ instances: [ObservedInstance], number: UInt64 = 1, term: Term? = nil) -> HeadReport {
        HeadReport(
            node: nodeID(0), term: term ?? reign, number: number, life: 1, instances: instances, desired: [])
    }

    private func leader() -> DesiredState {
        var state = DesiredState()
        state.beginReign(reign, now: .zero)
        return state
    }

    private func commands(_ state: inout DesiredState) -> [InstanceCommand] {
        state.reconcile(membership: membership, now: .zero) { _ in nodeID(0) }
    }

    @Test("only the leader takes wishes and gives commands")
    func followers() {
        var state = DesiredState()
        #expect(throws: ShoalError.self) { try state.set(slot: slot, model: "m", isWanted: true) }
        #expect(commands(&state).isEmpty)
    }

    @Test("nothing starts before the heads have reported, and then the same instance until it is seen")
    func start() throws {
        var state = leader()
        try state.set(slot: slot, model: "m", isWanted: true)
        #expect(commands(&state).isEmpty)
        state.receive(report([]))
        let first = commands(&state)
        #expect(first.map(\.verb) == [.start] && first == commands(&state))
        let failed = ObservedInstance(
            id: first[0].instance, slot: slot, model: "m", phase: .failed, startedUnder: reign, ownedUnder: reign)
        state.receive(report([failed], number: 2))
        let second = commands(&state)
        #expect(second.map(\.verb) == [.start] && second[0].instance != first[0].instance)
    }

    @Test("an instance of a slot nobody knows is adopted, never restarted")
    func adoption() {
        var state = leader()
        state.receive(report([instance(9, .ready, under: earlier)]))
        #expect(commands(&state).map(\.verb) == [.adopt])
        #expect(state.desired.map(\.isWanted) == [true])
    }

    @Test("of two instances the one that answers stays, else the older one")
    func duplicates() {
        var state = leader()
        state.receive(report([instance(1, .loading, under: earlier), instance(2, .ready, under: reign)]))
        #expect(commands(&state).map { "\($0.verb) \($0.instance.rawValue)" } == ["drain 1"])
        state.receive(report([instance(1, .ready, under: earlier), instance(2, .ready, under: reign)], number: 2))
        #expect(commands(&state).map { "\($0.verb) \($0.instance.rawValue)" } == ["adopt 1", "drain 2"])
    }

    @Test("a slot that is no longer wanted is drained, and old copies do not bring it back")
    func unwanted() throws {
        var state = leader()
        let old = DesiredInstance(
            slot: slot, model: "m", isWanted: true, version: DesiredVersion(term: earlier, revision: 9))
        try state.set(slot: slot, model: "m", isWanted: false)
        state.merge([old])
        state.receive(report([instance(3, .ready, under: earlier)]))
        #expect(commands(&state).map(\.verb) == [.drain])
    }

    @Test("reports under another term and overtaken ones are dropped")
    func staleReports() {
        var state = leader()
        state.receive(report([instance(1, .ready, under: earlier)], number: 5, term: earlier))
        #expect(state.observed.isEmpty)
        state.receive(report([], number: 5))
        state.receive(report([instance(1, .ready, under: earlier)], number: 4))
        #expect(state.observed.isEmpty)
    }

    @Test("slots are bounded: unwanted ones make room, wanted ones do not")
    func bound() throws {
        var configuration = DesiredState.Configuration()
        configuration.slotCountMax = 2
        var state = DesiredState(configuration: configuration)
        state.beginReign(reign, now: .zero)
        try state.set(slot: SlotID(rawValue: 1), model: "m", isWanted: false)
        for slot in 2...3 { try state.set(slot: SlotID(rawValue: UInt64(slot)), model: "m", isWanted: true) }
        #expect(state.desired.map(\.slot.rawValue) == [2, 3])
        #expect(refusal { try state.set(slot: SlotID(rawValue: 4), model: "m", isWanted: true) } == .overloaded)
    }
}
