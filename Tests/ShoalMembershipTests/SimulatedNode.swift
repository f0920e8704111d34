import ShoalCore
import ShoalMembership

/// What travels between simulated nodes.
enum SimulatedMessage {
    case cluster(ClusterMessage)
    case report(HeadReport)
    case command(InstanceCommand, stages: [NodeID])
    case desired([DesiredInstance])
    case stage(StageMessage)
}

/// One virtual machine: its member, its copy of the desired state, the instances whose head it is, and the engines of
/// stages that it holds for any head.
struct SimulatedNode {
    let id: NodeID
    var life: UInt64
    var isRunning = true
    /// Stopped in the middle of everything; what arrives waits in its sockets.
    var isFrozen = false
    var member: ClusterMember
    var desired = DesiredState()
    var instances: [SimulatedInstance] = []
    var engines: Set<SimulatedEngine> = []
    /// Loads and resets under way, with the time at which they are done.
    var work: [(engine: SimulatedEngine, generation: UInt32, doneAt: Int)] = []
    /// What it planned as leader.
    var plans: [InstanceID: [NodeID]] = [:]
    var tickets: [(ticket: PlanTicket, doneAt: Int)] = []
    /// Instances that it stopped: a late start does not bring them back.
    var ended: Set<InstanceID> = []
    var reportNumber: UInt64 = 0
    var tickCount = 0
    /// The highest term it acted on in this life, kept apart from the code under test.
    var highestTerm: Term?

    init(id: NodeID, life: UInt64, now: Duration) {
        self.id = id
        self.life = life
        member = ClusterMember(node: id, life: life, now: now)
    }

    mutating func report() -> HeadReport? {
        guard let term = member.term else { return nil }
        reportNumber += 1
        return HeadReport(
            node: id, term: term, number: reportNumber, life: life, instances: instances.map(\.observed),
            desired: desired.desired)
    }
}
