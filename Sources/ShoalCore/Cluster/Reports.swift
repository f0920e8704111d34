/// One node as the cluster sees it. What `shoal nodes` lists.
package struct NodeReport: Hashable, Sendable, Codable {
    /// Whether the node that reports can reach it.
    package enum Reachability: String, Sendable, Codable {
        case this, connected, unreachable
    }

    /// What the cluster believes of it.
    package enum State: String, Sendable, Codable {
        case alive, suspect, dead
    }

    package var id: NodeID?
    package var name: String
    package var linkAddress: String
    package var apiAddress: String?
    package var reachability: Reachability
    /// Nil for an address of which nothing is known yet.
    package var state: State?
    /// Seconds since it is in that state, by the clock of the node that reports.
    package var stateSeconds: Double?
    /// On the leader only: the number of its term.
    package var leadingTerm: UInt64?
    package var threadCount: Int?
    package var memoryTotal: ByteCount?
    package var memoryAvailable: ByteCount?
    package var shoalVersion: String?
    package var engineBuild: String?
    /// Why it cannot be reached, in one sentence.
    package var problem: String?

    package init(name: String, linkAddress: String, reachability: Reachability) {
        self.name = name
        self.linkAddress = linkAddress
        self.reachability = reachability
    }
}

/// The way of an instance from a plan to answers. Later issues add phases; raw values are part of the API.
package enum InstancePhase: String, Sendable, Codable, CaseIterable {
    /// `waiting` is of a model that should run and has no instance yet.
    case waiting, placing, starting, loading, warming, ready, recovering, draining, failed, stopped
    /// Of the rpc engine: workers are looked at once more; llama-server was started; it takes its devices.
    case verifying, launching, handshaking

    /// Whether requests are admitted.
    package var isServing: Bool { self == .ready }

    /// Whether somebody asked for the end of the instance, so that its end is no failure.
    package var isEnding: Bool { self == .draining || self == .stopped }
}

/// One stage of an instance.
package struct StageReport: Hashable, Sendable, Codable {
    package var node: NodeID
    package var nodeName: String
    package var layers: LayerRange
    package var phase: InstancePhase
    /// 0 to 1 while loading.
    package var loadProgress: Double
    package var weightBytes: ByteCount
    package var loadSeconds: Double?
    package var bytesReadFromDisk: ByteCount?
    package var residentBytes: ByteCount?
    /// The KV cache or recurrent state, part of the above.
    package var kvCacheBytes: ByteCount?
    /// Weights that came over the network: zero in the stages engine, counted all the same.
    package var weightBytesReceived: ByteCount
    /// Activation bytes that this stage handed to the next one, frame headers included.
    package var boundaryBytesSent: ByteCount
    package var boundaryTokenCount: Int
    /// What its engine has computed since it was started; nil until it was asked.
    package var computedTokenCount: Int?
    package var computeSeconds: Double?
    package var engineProcessID: Int32?
    package var restartCount: Int
    /// Sequences that hold KV cells in this stage for a request; those kept as prefixes for later ones are not.
    package var sequencesInUse: [SequenceID]
    package var problem: String?
    /// Of the rpc engine's workers; nil for stages and for what the head computes itself.
    package var worker: RPCWorkerReport?

    package init(node: NodeID, nodeName: String, layers: LayerRange, phase: InstancePhase, weightBytes: ByteCount) {
        self.node = node
        self.nodeName = nodeName
        self.layers = layers
        self.phase = phase
        self.weightBytes = weightBytes
        loadProgress = 0
        weightBytesReceived = .zero
        boundaryBytesSent = .zero
        boundaryTokenCount = 0
        restartCount = 0
        sequencesInUse = []
    }
}

/// One instance. What `shoal ps` lists.
package struct InstanceReport: Hashable, Sendable, Codable {
    package var id: InstanceID
    /// The name clients ask for.
    package var model: String
    package var family: String
    package var head: NodeID
    package var headName: String
    package var phase: InstancePhase
    /// Why it failed or recovers; nil otherwise.
    package var problem: String?
    /// The kind of that problem.
    package var problemCode: ShoalError.Code?
    /// Of the wish that it fulfils: what should run, while instances come and go.
    package var slot: String?
    /// False while it is only being drained, because another instance serves or nobody wants it any more.
    package var isWanted: Bool
    package var stages: [StageReport]
    package var contextTokenCount: Int
    package var sequenceCountMax: Int
    /// What activations are on the wire between stages.
    package var wire: BoundaryFormat
    package var runningRequestCount: Int
    package var queuedRequestCount: Int
    /// Sequences of ended requests whose KV is kept for prompts that begin alike.
    package var cachedSequenceCount: Int
    package var counters: HeadCounters
    /// Nil where none was given.
    package var draft: DraftReport?
    package var createdUnixSeconds: Int
    /// In order; the last one is the present.
    package var phases: [PhaseReport]
    package var engine = EngineKind.stages
    /// Counts restarts of what computes the instance.
    package var generation: UInt32 = 0
    /// Of the rpc engine: llama-server's, on the head, while it runs.
    package var serverProcessID: Int32?
    /// What was unusual about how it started, in one sentence; nil otherwise.
    package var notice: String?

    package init(
        id: InstanceID, model: String, family: String, head: NodeID, headName: String, phase: InstancePhase,
        stages: [StageReport], contextTokenCount: Int, sequenceCountMax: Int, createdUnixSeconds: Int
    ) {
        self.id = id
        self.model = model
        self.family = family
        self.head = head
        self.headName = headName
        self.phase = phase
        self.stages = stages
        self.contextTokenCount = contextTokenCount
        self.sequenceCountMax = sequenceCountMax
        self.createdUnixSeconds = createdUnixSeconds
        isWanted = true
        wire = .f32
        runningRequestCount = 0
        queuedRequestCount = 0
        cachedSequenceCount = 0
        counters = HeadCounters()
        phases = []
    }
}

/// A model that answers requests now. What `/v1/models` lists.
package struct ServedModel: Hashable, Sendable, Codable {
    package var name: String
    package var instance: InstanceID
    package var createdUnixSeconds: Int
    package var contextTokenCount: Int

    package init(name: String, instance: InstanceID, createdUnixSeconds: Int, contextTokenCount: Int) {
        self.name = name
        self.instance = instance
        self.createdUnixSeconds = createdUnixSeconds
        self.contextTokenCount = contextTokenCount
    }
}

/// What `shoal load` and `shoal plan` ask for.
package struct LoadRequest: Hashable, Sendable, Codable {
    /// One `NAME=FIRST-LAST` of `--layers`.
    package struct Assignment: Hashable, Sendable, Codable {
        package var nodeName: String
        package var layers: LayerRange

        package init(nodeName: String, layers: LayerRange) {
            self.nodeName = nodeName
            self.layers = layers
        }
    }

    /// A path, or the name of a file in a node's model folder.
    package var model: String
    /// Empty: the planner decides.
    package var layers: [Assignment]
    /// Per request, not shared between requests. Nil: the model's own, at most 4096.
    package var contextTokenCount: Int?
    package var sequenceCountMax: Int?
    /// Nil: the stages engine where it supports the model's family, else the rpc engine.
    package var engine: EngineKind?
    /// For the rpc engine alone.
    package var rpc: RPCOptions?
    /// Nil: the least time per token.
    package var objective: PlanObjective?
    /// Nodes, by name or id, that the planner must not use.
    package var excludedNodes: [String]?
    /// Nodes that do not exist, for `shoal plan`: what would change if they did. A model cannot be loaded on them.
    package var imaginedNodes: [ImaginedNode]?
    /// What activations are on the wire between stages; nil means `f32`.
    package var wire: BoundaryFormat?
    /// The prompt that the time to the first token is predicted for; nil means `promptTokenCountDefault`.
    package var promptTokenCount: Int?

    /// Nil: `auto`.
    package var speculation: SpeculationMode?
    /// A small model with the same vocabulary that guesses for this one: a path, or a name in a node's model folder.
    package var draft: String?

    package static let promptTokenCountDefault = 512

    /// One `NAME=MEMORY` of `--with`.
    package struct ImaginedNode: Hashable, Sendable, Codable {
        package var name: String
        package var memory: ByteCount

        package init(name: String, memory: ByteCount) {
            self.name = name
            self.memory = memory
        }

        /// Reads "NAME=78GB". Throws `.invalidRequest` naming the text that cannot be read.
        package init(parsing text: String) throws(ShoalError) {
            let sides = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard sides.count == 2, !sides[0].isEmpty, let memory = ByteCount(parsing: String(sides[1])),
                memory > .zero
            else {
                throw ShoalError(.invalidRequest, "\"\(text)\" is not NAME=MEMORY; write for example big=78GB")
            }
            self.init(name: String(sides[0]), memory: memory)
        }
    }

    package init(model: String, layers: [Assignment] = [], contextTokenCount: Int? = nil, sequenceCountMax: Int? = nil)
    {
        self.model = model
        self.layers = layers
        self.contextTokenCount = contextTokenCount
        self.sequenceCountMax = sequenceCountMax
    }

    /// Reads "a=0-14,b=15-29". Throws `.invalidPlacement` naming the part that cannot be read.
    package static func assignments(parsing text: String) throws(ShoalError) -> [Assignment] {
        var result: [Assignment] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard sides.count == 2, !sides[0].isEmpty, let layers = LayerRange(parsing: sides[1]) else {
                throw ShoalError(
                    .invalidPlacement, "\"\(part)\" is not NODE=FIRST-LAST; write for example a=0-14,b=15-29")
            }
            result.append(Assignment(nodeName: String(sides[0]), layers: layers))
        }
        return result
    }
}
