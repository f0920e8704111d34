import ShoalCore
import ShoalMembership
import ShoalScheduling

/// An instance at its head: its real lifecycle, and stages that are simulated.
struct SimulatedInstance {
    /// What the head asked a stage's node for and waits for; as a request over a link it ends in any case.
    struct Ask {
        var stage: Int
        var generation: UInt32
        var isReset: Bool
        var deadline: Int
    }

    let id: InstanceID
    let wish: ModelWish
    let stages: [NodeID]
    let startedUnder: Term
    var ownedUnder: Term
    var lifecycle: InstanceLifecycle
    var asks: [Ask] = []
    var unloads: [(stage: Int, deadline: Int)] = []
    var retries: [(number: Int, at: Int)] = []
    var warmUp: (generation: UInt32, at: Int)?
    /// What runs ends by then.
    var drainedAt: Int?
    /// Somebody always waits for its answers.
    var hasReaders: Bool

    var phase: InstancePhase { drainedAt == nil || lifecycle.phase == .stopped ? lifecycle.phase : .draining }

    var observed: ObservedInstance {
        var instance = ObservedInstance(
            id: id, wish: wish, phase: phase, startedUnder: startedUnder, ownedUnder: ownedUnder)
        if phase == .failed { instance.problem = lifecycle.problem }
        return instance
    }
}

/// A stage's engine on some node.
struct SimulatedEngine: Hashable {
    var instance: InstanceID
    var stage: Int
    var head: NodeID
}

/// Between a head and the nodes of its stages.
enum StageMessage {
    case prepare(SimulatedEngine, generation: UInt32, isReset: Bool)
    case prepared(SimulatedEngine, generation: UInt32)
    case unload(SimulatedEngine)
    case unloaded(SimulatedEngine)
    case lost(SimulatedEngine)
}
