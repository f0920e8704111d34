package import ShoalCore
package import ShoalRPC

/// The part of an instance order that only the rpc engine has.
package struct RPCOrder: Sendable, Codable, Hashable {
    /// Runs llama-server, and needs the model's file. The only one that does.
    package var head: NodeID
    package var headName: String
    /// The stage that llama-server computes itself; nil when workers compute all of them.
    package var localStage: Int?
    /// Stages whose worker was started by somebody else, and where it listens.
    package var foreignAddresses: [Int: String]
    package var options: RPCOptions

    package init(
        head: NodeID, headName: String, localStage: Int?, foreignAddresses: [Int: String], options: RPCOptions
    ) {
        self.head = head
        self.headName = headName
        self.localStage = localStage
        self.foreignAddresses = foreignAddresses
        self.options = options
    }
}

/// What a head asks of a node that runs, or carries traffic for, one of its workers.
package struct RPCWorkerAssignment: Sendable, Codable, Hashable {
    package var instance: InstanceID
    package var generation: UInt32
    package var stage: Int
    package var model: ModelReference
    package var head: NodeID
    /// HOST:PORT of a worker that somebody else runs; nil to start one.
    package var foreignAddress: String?
    /// Whether a process that runs already cannot be trusted.
    package var mustRestart: Bool
}

/// A worker that was verified by its own protocol.
package struct RPCWorkerPrepared: Sendable, Codable, Hashable {
    /// Nil for a foreign worker.
    package var processID: Int32?
    package var protocolVersion: String
    package var devices: [RPCWorkerReport.Device]
    /// Of the node's llama.cpp; nil when that cannot be told.
    package var build: String?
    /// Where people find it.
    package var address: String
    /// Whether the node has the model's file, so that weights need not travel.
    package var hasModel: Bool
    /// Processes started for this stage after the first one.
    package var restartCount: Int
    /// What it answered just now, for llama-server's questions.
    package var facts: RPCServerFacts
    /// Of its process: another one may have other answers.
    package var serverNumber: UInt64
}

/// What a worker looks like now, as its node sees it.
package struct RPCWorkerSnapshot: Sendable, Codable, Hashable {
    /// Nil for a foreign worker, and while none runs.
    package var processID: Int32?
    package var processorSeconds: Double?
    package var isStopped: Bool
    package var residentBytes: ByteCount?
    package var restartCount: Int
}

/// What a node has for the rpc engine.
package struct RPCCapability: Sendable, Codable, Hashable {
    /// Of llama-server, as it says itself; nil when it is not there.
    package var build: String?
    /// Whether it has ggml-rpc-server: enough for a worker.
    package var canWork: Bool
    /// GPUs that llama-server finds, in its order.
    package var gpus: [RPCWorkerReport.Device]
    package var foreignWorkers: [ForeignWorkerReport]
    /// Why this node cannot be head.
    package var problem: String?
}
