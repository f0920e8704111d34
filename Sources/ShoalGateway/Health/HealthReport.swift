import ShoalCore

/// How the cluster and everything that should run in it are. What `GET /shoal/v1/health` answers.
struct HealthReport: Encodable, Sendable {
    enum Status: String, Encodable, Sendable {
        /// Every model that should run answers; also when there is none.
        case ok
        /// At least one does not answer now.
        case unavailable
    }

    struct Node: Encodable, Sendable {
        var name: String
        /// Nil for an address of which nothing is known yet.
        var state: NodeReport.State?
        var problem: String?
    }

    struct Instance: Encodable, Sendable {
        var id: InstanceID
        var model: String
        var phase: InstancePhase
        var problem: String?
        var workers: [Worker]
    }

    /// What computes some layers: an engine of Shoal's, a worker of the rpc engine, or its llama-server.
    struct Worker: Encodable, Sendable {
        var node: String
        var layers: LayerRange
        var phase: InstancePhase
        var processID: Int32?
        var restartCount: Int
        var problem: String?
    }

    var status: Status
    var nodes: [Node]
    var instances: [Instance]

    init(nodes: [NodeReport], instances: [InstanceReport]) {
        self.nodes = nodes.map { Node(name: $0.name, state: $0.state, problem: $0.problem) }
        self.instances = instances.map { instance in
            Instance(
                id: instance.id, model: instance.model, phase: instance.phase, problem: instance.problem,
                workers: instance.stages.map { stage in
                    Worker(
                        node: stage.nodeName, layers: stage.layers, phase: stage.phase,
                        processID: stage.engineProcessID, restartCount: stage.restartCount, problem: stage.problem)
                })
        }
        let serving = Set(instances.filter(\.phase.isServing).map(\.model))
        status = instances.allSatisfy { !$0.isWanted || serving.contains($0.model) } ? .ok : .unavailable
    }
}
