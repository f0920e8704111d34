package import ShoalCore
package import ShoalEngine
package import ShoalMembership
package import ShoalReach
package import ShoalStore
package import ShoalTrust

/// Which file a model is, for nodes that each have their own copy.
package struct ModelReference: Sendable, Codable, Hashable {
    /// The name clients ask for.
    package var name: String
    /// Where the planning node found it; other nodes try the same path first.
    package var path: String
    /// Equal for equal copies.
    package var fingerprint: ModelFingerprint

    package init(name: String, path: String, fingerprint: ModelFingerprint) {
        self.name = name
        self.path = path
        self.fingerprint = fingerprint
    }
}

/// One stage of an instance order.
package struct StageOrder: Sendable, Codable, Hashable {
    package var node: NodeID
    package var nodeName: String
    package var layers: LayerRange
    package var weightBytes: ByteCount

    package init(node: NodeID, nodeName: String, layers: LayerRange, weightBytes: ByteCount) {
        self.node = node
        self.nodeName = nodeName
        self.layers = layers
        self.weightBytes = weightBytes
    }
}

/// The draft model of an instance order.
package struct DraftOrder: Sendable, Codable, Hashable {
    package var model: ModelReference
    package var layers: LayerRange
    package var weightBytes: ByteCount

    package init(model: ModelReference, layers: LayerRange, weightBytes: ByteCount) {
        self.model = model
        self.layers = layers
        self.weightBytes = weightBytes
    }
}

/// A plan, addressed to the node that will be its head.
package struct InstanceOrder: Sendable, Codable, Hashable {
    package var id: InstanceID
    package var model: ModelReference
    package var family: String
    /// In pipeline order; the last one's node is the head, unless `rpc` names another.
    package var stages: [StageOrder]
    /// Per sequence.
    package var contextTokenCount: Int
    package var sequenceCountMax: Int
    package var speculation: SpeculationMode
    package var createdUnixSeconds: Int
    /// Set for the rpc engine: then the head is the node named there.
    package var rpc: RPCOrder?
    /// What the stages hand to each other.
    package var wire = BoundaryFormat.f32
    /// Runs on the head's node.
    package var draft: DraftOrder?

    package init(
        id: InstanceID, model: ModelReference, family: String, stages: [StageOrder], contextTokenCount: Int,
        sequenceCountMax: Int, createdUnixSeconds: Int, speculation: SpeculationMode = .auto
    ) {
        self.id = id
        self.model = model
        self.family = family
        self.stages = stages
        self.contextTokenCount = contextTokenCount
        self.sequenceCountMax = sequenceCountMax
        self.speculation = speculation
        self.createdUnixSeconds = createdUnixSeconds
    }
}

extension InstanceOrder {
    package var engine: EngineKind { rpc == nil ? .stages : .rpc }

    /// Nil in an order without stages, which no node accepts.
    package var head: NodeID? { rpc?.head ?? stages.last?.node }

    package var headName: String { rpc?.headName ?? stages.last?.nodeName ?? "?" }
}

/// What a head asks of a node that holds one of its stages. Asking again with a higher generation makes the stage ready
/// for it: a living engine forgets its sequences, a dead one is started and loaded again.
package struct StageAssignment: Sendable, Codable, Hashable {
    package var instance: InstanceID
    package var generation: UInt32
    package var stageIndex: Int
    package var stageCount: Int
    package var model: ModelReference
    /// `path` and `threadCount` are the receiving node's to fill.
    package var load: StageLoadRequest
    package var head: NodeID
    /// The next stage's node and where to reach it; nil in the last stage.
    package var downstream: NodeID?

    package var isLast: Bool { stageIndex == stageCount - 1 }
}

/// A stage that is ready for its generation.
package struct StagePrepared: Sendable, Codable, Hashable {
    package var loaded: StageLoaded
    package var build: EngineBuild
}

/// What a stage looks like now, as its node sees it.
package struct StageSnapshot: Sendable, Codable, Hashable {
    package var engineProcessID: Int32?
    package var status: StageStatus?
    package var boundaryBytesSent: ByteCount
    package var boundaryTokenCount: Int
    /// Bulk bytes that are not activations, received over this node's links for this instance.
    package var weightBytesReceived: ByteCount
}

/// Control requests between nodes; JSON in `controlRequest` frames.
package enum ControlRequest: Sendable, Codable {
    case prepareStage(StageAssignment)
    /// Dial the next stage; every stage is prepared for this generation.
    case connectStage(InstanceID, generation: UInt32)
    case inspectStage(InstanceID)
    case unloadStage(InstanceID)
    /// Commands of the leader to a head; those of an older term are refused. Giving one again does no harm.
    case startInstance(InstanceOrder, ModelWish, Term)
    case stopInstance(InstanceID, Term)
    case drainInstance(InstanceID, Term)
    case adoptInstance(InstanceID, Term)
    case reportInstance(InstanceID)
    /// A user's wishes, to the leader, from the node that was asked.
    case load(ModelWish)
    case unload(SlotID, InstanceID, head: NodeID)
    /// A plan, from a node that has the model's file.
    case planInstance(ModelWish)
    case generate(GenerationRequest, InstanceID)
    /// Of the stages held by the receiver; nil means of all instances.
    case engineLogs(InstanceID?)
    /// Start a stock worker, or verify one that runs.
    case prepareWorker(RPCWorkerAssignment)
    case inspectWorker(InstanceID, stage: Int)
    /// Of requests that a head on the receiver computed; nil means all that are remembered.
    case traces(RequestID?)
    case dialBack(DialBack)
    case openRelay(RelayOrder)
    case joinRelay(RelayOffer)
}

/// Answers to `ControlRequest`.
package enum ControlReply: Sendable, Codable {
    case done
    case stagePrepared(StagePrepared)
    case stage(StageSnapshot)
    case instance(InstanceReport)
    case order(InstanceOrder)
    case engineLogs([EngineLogReport])
    case workerPrepared(RPCWorkerPrepared)
    case worker(RPCWorkerSnapshot)
    case traces([TraceReport])
}

/// One-way messages between nodes; JSON in `controlEvent` frames.
package enum ControlEvent: Sendable, Codable {
    /// The sender's own state, every second and when it changes.
    case node(NodeAnnouncement)
    /// The instances whose head is the sender; the receiver forgets others of that head.
    case instances([InstanceReport])
    /// Whom the sender is linked with, so that nodes with a common peer find each other.
    case peers([KnownPeer])
    /// What the sender found out about who can be reached where.
    case reach([ReachRow])
    /// Who belongs to the cluster and who never will again; when a link opens, and when it changes.
    case members([MemberRecord])
    /// Who is alive, and who leads.
    case cluster(ClusterMessage)
    /// What the sender runs, to the leader that it follows.
    case heads(HeadReport)
    /// What should run, from the leader.
    case desired(DesiredNews)
    case stageProgress(InstanceID, generation: UInt32, stageIndex: Int, fraction: Double)
    case stageLost(InstanceID, generation: UInt32, stageIndex: Int, ShoalError)
    /// The stage's engine lives, but its link to the next stage broke.
    case stageDisconnected(InstanceID, generation: UInt32, stageIndex: Int, ShoalError)
    case generation(RequestID, GenerationEvent)
    case consumed(RequestID, InstanceID, tokenCount: Int)
    case cancel(RequestID, InstanceID)
}

/// What a node says of itself.
package struct NodeAnnouncement: Sendable, Codable, Hashable {
    package var id: NodeID
    package var name: String
    package var linkAddress: String
    package var apiAddress: String?
    package var threadCount: Int
    package var memoryTotal: ByteCount
    /// What a new stage could take: the machine's available memory, or what is left of `--memory`.
    package var memoryAvailable: ByteCount
    package var shoalVersion: String
    /// What this node has for the rpc engine; nil while it is not known.
    package var rpc: RPCCapability?
    package var protocolNumber = ShoalVersion.protocolNumber
    /// What its engines are built from; empty when not known.
    package var engineBuild = ""
    /// HOST:PORT where others may dial it, best first.
    package var addresses: [String] = []
    /// The IP addresses of its interfaces, whether it listens there or not.
    package var interfaces: [String] = []
    /// Its clock when it said this.
    package var unixMilliseconds: Int64 = 0
    /// Nil until it has been measured.
    package var speed: NodeSpeed?
}

/// A node that the sender is linked with.
package struct KnownPeer: Sendable, Codable, Hashable {
    package var id: NodeID
    /// HOST:PORT where it may be dialled.
    package var addresses: [String]
    /// Whether the sender's link to it goes through no third node, so that the sender could be that node for others.
    package var isDirect: Bool
}
