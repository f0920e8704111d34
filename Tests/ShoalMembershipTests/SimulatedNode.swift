import ShoalCore
import ShoalMembership

/// What travels between simulated nodes.
enum SimulatedMessage {
    case cluster(ClusterMessage)
    case report(HeadReport)
    case command(InstanceCommand)
    case desired([DesiredInstance])
}

/// One virtual machine: its member, its copy of the desired state, and the instances whose head it is.
struct SimulatedNode {
    let id: NodeID
    var life: UInt64
    var isRunning = true
    /// Stopped in the middle of everything; what arrives waits in its sockets.
    var isFrozen = false
    var member: ClusterMember
    var desired = DesiredState()
    var instances: [(instance: ObservedInstance, changesAt: Int)] = []
    var reportNumber: UInt64 = 0
    var tickCount = 0
    /// The highest term it acted on in this life, kept apart from the code under test.
    var highestTerm: Term?

    init(id: NodeID, life: UInt64, now: Duration) {
        self.id = id
        self.life = life
        member = ClusterMember(node: id, life: life, now: now)
    }

    /// Loading ends after a second, draining too.
    mutating func advanceInstances(now: Int) {
        for index in instances.indices where instances[index].changesAt <= now {
            switch instances[index].instance.phase {
            case .loading: instances[index].instance.phase = .ready
            case .draining: instances[index].instance.phase = .stopped
            default: break
            }
        }
        instances.removeAll { $0.instance.phase == .stopped && $0.changesAt + 5_000_000 <= now }
    }

    mutating func report() -> HeadReport? {
        guard let term = member.term else { return nil }
        reportNumber += 1
        return HeadReport(
            node: id, term: term, number: reportNumber, life: life, instances: instances.map(\.instance),
            desired: desired.desired)
    }

    mutating func execute(_ command: InstanceCommand, now: Int) {
        let known = instances.firstIndex { $0.instance.id == command.instance }
        switch (command.verb, known) {
        case (.start, nil):
            let instance = ObservedInstance(
                id: command.instance, slot: command.slot, model: command.model, phase: .loading,
                startedUnder: command.term, ownedUnder: command.term)
            instances.append((instance, now + 1_000_000))
        case (.adopt, .some(let index)):
            instances[index].instance.ownedUnder = command.term
        case (.drain, .some(let index)) where instances[index].instance.ownsSlot:
            instances[index].instance.phase = .draining
            instances[index].changesAt = now + 1_000_000
        default: break
        }
    }
}
