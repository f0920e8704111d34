package import ShoalCore
package import ShoalLaunch
package import ShoalMembership
package import ShoalTrust

/// Everything a node is told at start. Defaults are those of `shoal serve`.
package struct NodeConfiguration: Sendable {
    /// How people call the node; unique by convention, not enforced.
    package var name: String
    /// Folder for the node's identity, logs and state; created with mode 0700 if missing.
    package var dataDirectory: String
    /// HOST:PORT where other nodes reach this one.
    package var linkAddress: String
    /// HOST:PORT that other nodes are told to dial, where it is not the address that this one listens at.
    package var advertisedAddress: String?
    /// HOST:PORT of the HTTP API, told to other nodes for their listings; nil when there is none.
    package var apiAddress: String?
    /// HOST:PORT of nodes to connect to.
    package var peerAddresses: [String]
    /// A key that lets every node in which has it too; nil for the cluster's own, which lets nobody in by itself.
    package var clusterKey: ClusterKey?
    /// What this node's engines are built from, told to peers; empty when it is not known.
    package var llamaBuild: String
    /// Threads of each engine.
    package var threadCount: Int
    /// The most memory that stages on this node may take together; nil means what the machine has available.
    package var memoryLimit: ByteCount?
    /// Whether the node announces itself by beacons and listens for those of other members.
    package var discovers: Bool
    /// Whether an engine measures the machine's speed when the data folder does not have it yet.
    package var measuresSpeed: Bool
    /// Folders searched for models, besides the paths that requests name.
    package var modelFolders: [String]
    /// llama.cpp's own programs, for the rpc engine; nil where there are none.
    package var llamaTools: LlamaToolPaths?
    /// HOST:PORT of `ggml-rpc-server`s that run without Shoal, whose traffic this node carries.
    package var foreignWorkers: [String]
    /// Between the last worker's readiness and the start of llama-server.
    package var settleDuration: Duration
    /// Whether every step of a recovery is logged.
    package var explainsRecovery: Bool
    package var limits: NodeLimits
    /// Called after the node took note of something that may show in its reports. Any thread; must not block.
    package var onChange: @Sendable () -> Void

    package init(name: String, dataDirectory: String, linkAddress: String) {
        self.name = name
        self.dataDirectory = dataDirectory
        self.linkAddress = linkAddress
        advertisedAddress = nil
        apiAddress = nil
        peerAddresses = []
        clusterKey = nil
        llamaBuild = ""
        threadCount = 1
        memoryLimit = nil
        discovers = false
        measuresSpeed = false
        modelFolders = []
        llamaTools = nil
        foreignWorkers = []
        settleDuration = .zero
        explainsRecovery = false
        limits = NodeLimits()
        onChange = {}
    }
}

/// Bounds of a node's waits and queues.
package struct NodeLimits: Sendable {
    /// From dialling to the other side's hello.
    package var dialDeadline: Duration = .seconds(3)
    /// For one address among several ways to a node: an answer that takes longer on one network is none.
    package var tryDeadline: Duration = .milliseconds(1500)
    /// From asking a node to dial to its connection.
    package var reverseDeadline: Duration = .seconds(4)
    /// For each part of making a connection through a third node.
    package var relayDeadline: Duration = .seconds(5)
    /// How long direct dials are given before a link through a third node is made.
    package var relayDelay: Duration = .seconds(2)
    /// First wait before a peer is dialled again; doubles up to `redialDelayMax`.
    package var redialDelay: Duration = .milliseconds(200)
    package var redialDelayMax: Duration = .seconds(5)
    /// For control requests that only look something up or start something.
    package var requestDeadline: Duration = .seconds(10)
    /// The longest load; the lifecycle's own deadline on lack of progress comes much earlier.
    package var loadDeadline: Duration = .seconds(3600)
    /// How long an answer whose instance was lost waits for another one, and how often it looks.
    package var lostAnswerDeadline: Duration = .seconds(600)
    package var lostAnswerInterval: Duration = .milliseconds(100)
    /// How long of that it waits while the cluster says that the model cannot be placed.
    package var lostAnswerUnplacedDeadline: Duration = .seconds(10)
    /// For an engine's answer to a text request.
    package var textDeadline: Duration = .seconds(30)
    /// How often a node tells its peers about itself and its instances, and a head asks its stages for their state.
    package var announcementInterval: Duration = .seconds(1)
    /// How long a stage outlives the link to its head.
    package var orphanedStageGrace: Duration = .seconds(5)
    /// How long a node that holds a stage may be away before the instance is placed on others; shorter while the
    /// instance was never ready. See `InstanceLifecycleConfiguration`.
    package var lostNodeGrace: Duration = .seconds(5)
    package var lostNodeGraceAtLaunch: Duration = .seconds(2)
    /// For a wish, which the leader answers when an instance has begun to load.
    package var wishDeadline: Duration = .seconds(60)
    /// How long a wish waits for somebody to lead.
    package var leaderDeadline: Duration = .seconds(15)
    /// How often a wish is taken to the next leader when one is lost.
    package var leaderAttemptCountMax = 5
    /// Between two tries of a command that was not seen to work.
    package var commandInterval: Duration = .seconds(1)
    /// Tries of a start whose head cannot be reached.
    package var startAttemptCountMax = 5
    /// How long an instance that nobody wants any more may finish its answers.
    package var drainDeadline: Duration = .seconds(120)
    package var membership = MembershipConfiguration()
    package var election = ElectionConfiguration()
    package var desired = DesiredState.Configuration()
    /// Micro-batches on their way through the pipeline.
    package var microBatchesInFlightMax = 64
    package var microBatchTokenCountMax = 512
    package var promptChunkTokenCountMax = 512
    /// For starting and verifying a worker.
    package var workerDeadline: Duration = .seconds(90)
    /// When an instance of the rpc engine counts as hung.
    package var watchdog = ComputeWatchdog.Configuration()
    /// How patiently one is brought up and recovered.
    package var rpcLifecycle = RPCLifecycleConfiguration()
    /// A process of an instance that a signal stopped may stay so, before it is taken for frozen.
    package var frozenProcessGrace: Duration = .seconds(3)
    /// Weights that came over the network, kept for the next time.
    package var pieceCacheByteCountMax = 16 << 30

    package init() {}
}
