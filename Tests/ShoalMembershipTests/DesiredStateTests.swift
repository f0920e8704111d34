import ShoalCore
import ShoalMembership
import Testing

@Suite("Desired state")
struct DesiredStateTests {
    private let membership = Membership(node: nodeID(0), life: 1, now: .zero)
    private let reign = Term(counter: 2, leader: nodeID(0), life: 1)
    private let earlier = Term(counter: 1, leader: nodeID(5), life: 1)
    private let wish = sampleWish("m")
    private var slot: SlotID { wish.slot }

    private func instance(
        _ id: UInt64, _ phase: InstancePhase, under term: Term, problem: ShoalError? = nil
    ) -> ObservedInstance {
        var instance = ObservedInstance(
            id: InstanceID(rawValue: id), wish: wish, phase: phase, startedUnder: term, ownedUnder: term)
        instance.problem = problem
        return instance
    }

    private func report(_ instances: [ObservedInstance], number: UInt64 = 1, term: Term? = nil) -> HeadReport {
        HeadReport(
            node: nodeID(0), term: term ?? reign, number: number, life: 1, instances: instances, desired: [])
    }

    private func leader(_ configuration: DesiredState.Configuration = DesiredState.Configuration()) -> DesiredState {
        var state = DesiredState(configuration: configuration)
        state.beginReign(reign, now: .zero)
        return state
    }

    private func actions(_ state: inout DesiredState, now: Duration = .zero) -> [DesiredAction] {
        state.reconcile(membership: membership, now: now)
    }

    private func commands(_ state: inout DesiredState, now: Duration = .zero) -> [InstanceCommand] {
        actions(&state, now: now).compactMap { if case .command(let command) = $0 { command } else { nil } }
    }

    private func plan(_ state: inout DesiredState, now: Duration = .zero) -> PlanTicket? {
        for case .plan(let ticket) in actions(&state, now: now) { return ticket }
        return nil
    }

    /// Macros take no mutation.
    private func isPlanned(
        _ state: inout DesiredState, _ ticket: PlanTicket, instance: InstanceID, head: NodeID
    ) -> Bool {
        state.planned(ticket, instance: instance, head: head)
    }

    /// A leader that knows of nothing running, and wants one model.
    private func wanting() throws -> DesiredState {
        var state = leader()
        try state.set(wish, isWanted: true)
        state.receive(report([]))
        return state
    }

    @Test("only the leader takes wishes and gives commands")
    func followers() {
        var state = DesiredState()
        #expect(throws: ShoalError.self) { try state.set(wish, isWanted: true) }
        #expect(commands(&state).isEmpty)
    }

    @Test("nothing is planned before the heads have reported; the start is repeated until it is seen")
    func start() throws {
        var state = leader()
        try state.set(wish, isWanted: true)
        #expect(actions(&state).isEmpty)
        state.receive(report([]))
        let found = plan(&state)
        let ticket = try #require(found)
        #expect(actions(&state).isEmpty, "one plan at a time")
        #expect(isPlanned(&state, ticket, instance: InstanceID(rawValue: 5), head: nodeID(0)))
        let first = commands(&state)
        #expect(first.map(\.verb) == [.start] && first == commands(&state))
        #expect(state.status(of: slot)?.state == .starting)
        state.receive(report([instance(5, .loading, under: reign)], number: 2))
        #expect(actions(&state).isEmpty)
        #expect(state.status(of: slot)?.state == .running)
    }

    @Test("a plan that comes after the wish was taken back starts nothing")
    func latePlan() throws {
        var state = try wanting()
        let found = plan(&state)
        let ticket = try #require(found)
        try state.set(wish, isWanted: false)
        #expect(!isPlanned(&state, ticket, instance: InstanceID(rawValue: 5), head: nodeID(0)))
        #expect(actions(&state).isEmpty)
    }

    @Test("without a plan the slot waits with the reason, until nodes change or some time has passed")
    func waiting() throws {
        var state = try wanting()
        let refusal = ShoalError(.insufficientMemory, "needs 4 GB more")
        var ticket = plan(&state)
        state.planFailed(try #require(ticket), refusal, now: .zero)
        #expect(state.status(of: slot)?.state == .waiting)
        #expect(state.status(of: slot)?.reason == refusal)
        #expect(plan(&state, now: .seconds(1)) == nil)
        state.resourcesChanged(now: .seconds(2))
        ticket = plan(&state, now: .seconds(2))
        state.planFailed(try #require(ticket), refusal, now: .seconds(2))
        #expect(plan(&state, now: .seconds(3)) == nil)
        #expect(plan(&state, now: .seconds(7)) != nil)
    }

    @Test("an instance that lost a node is removed, and planned anew with growing pauses, a bounded number of times")
    func retries() throws {
        var state = try wanting()
        let lost = ShoalError(.linkLost, "node b is lost")
        var now = Duration.zero
        var attempts = 0
        var number: UInt64 = 1
        while attempts < 100 {
            let start = now
            var found: PlanTicket?
            while found == nil, now - start < .seconds(60) {
                found = plan(&state, now: now)
                now += .milliseconds(100)
            }
            guard let found else { break }
            attempts += 1
            number += 1
            let id = InstanceID(rawValue: number)
            #expect(isPlanned(&state, found, instance: id, head: nodeID(0)))
            #expect(commands(&state, now: now).filter { $0.verb == .start }.map(\.instance) == [id])
            state.receive(report([instance(number, .failed, under: reign, problem: lost)], number: number))
            #expect(commands(&state, now: now).filter { $0.verb == .remove }.count == (attempts < 5 ? 1 : 0))
        }
        #expect(attempts == 5)
        #expect(state.status(of: slot)?.state == .failed)
        #expect(state.status(of: slot)?.reason?.message.contains("5 attempts") == true)
        #expect(now > .seconds(7), "the pauses grow")
        try state.set(wish, isWanted: true)
        #expect(plan(&state, now: now) != nil, "the user may ask again")
    }

    @Test("a failure that no plan heals ends the slot's attempts and stays to be seen")
    func permanent() throws {
        var state = try wanting()
        let found = plan(&state)
        let ticket = try #require(found)
        #expect(isPlanned(&state, ticket, instance: InstanceID(rawValue: 5), head: nodeID(0)))
        let bad = ShoalError(.malformedModel, "the file is damaged")
        state.receive(report([instance(5, .failed, under: reign, problem: bad)], number: 2))
        for second in 0..<100 { #expect(actions(&state, now: .seconds(second)).isEmpty) }
        #expect(state.status(of: slot)?.state == .failed)
        #expect(state.status(of: slot)?.reason == bad)
    }

    @Test("an instance that answered may fail again as often as the first time")
    func successForgives() throws {
        var state = try wanting()
        let lost = ShoalError(.linkLost, "node b is lost")
        var now = Duration.zero
        for number in UInt64(1)...20 {
            now += .seconds(60)
            let next = plan(&state, now: now)
            let found = try #require(next)
            #expect(isPlanned(&state, found, instance: InstanceID(rawValue: number), head: nodeID(0)))
            state.receive(report([instance(number, .ready, under: reign)], number: 2 * number))
            #expect(actions(&state, now: now).isEmpty)
            state.receive(report([instance(number, .failed, under: reign, problem: lost)], number: 2 * number + 1))
            _ = commands(&state, now: now)
            #expect(state.status(of: slot)?.failureCount == 1)
        }
    }

    @Test("a head that refuses the start counts as a failure")
    func refusedStart() throws {
        var state = try wanting()
        let ticket = plan(&state)
        #expect(isPlanned(&state, try #require(ticket), instance: InstanceID(rawValue: 5), head: nodeID(0)))
        let given = commands(&state)
        let start = try #require(given.first)
        state.startFailed(start, ShoalError(.overloaded, "too many instances"), now: .zero)
        #expect(actions(&state).isEmpty)
        #expect(plan(&state, now: .seconds(1)) != nil)
    }

    @Test("a report from before a stop does not bring the instance back")
    func stoppedInstance() throws {
        var state = leader()
        try state.set(wish, isWanted: true)
        state.receive(report([instance(5, .ready, under: reign)]))
        state.noteStopped(InstanceID(rawValue: 5))
        state.receive(report([instance(5, .ready, under: reign)], number: 2))
        #expect(state.owner(of: slot) == nil)
        #expect(plan(&state) != nil)
    }

    @Test("the same model is the same slot, however it was asked for")
    func slots() {
        #expect(
            sampleWish("m").slot
                == ModelWish(
                    model: "m", path: "/elsewhere", contentDigest: "d", contentByteCount: 2,
                    request: LoadRequest(model: "x")
                ).slot)
        #expect(sampleWish("m").slot != sampleWish("n").slot)
        #expect(SlotID("\(wish.slot)") == wish.slot)
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
            wish: wish, isWanted: true, version: DesiredVersion(term: earlier, revision: 9))
        try state.set(wish, isWanted: false)
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
        try state.set(sampleWish("1"), isWanted: false)
        for model in ["2", "3"] { try state.set(sampleWish(model), isWanted: true) }
        #expect(Set(state.desired.map(\.wish.model)) == ["2", "3"])
        #expect(refusal { try state.set(sampleWish("4"), isWanted: true) } == .overloaded)
    }
}

/// A wish for a model of this name.
func sampleWish(_ model: String) -> ModelWish {
    ModelWish(
        model: model, path: "/models/\(model).gguf", contentDigest: "00ff", contentByteCount: 1,
        request: LoadRequest(model: model))
}
