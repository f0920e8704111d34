package import ShoalCore

/// What a node asks of its engine: JSON in the description of an `engineRequest`, answered by one `engineReply` with
/// the same number. Requests and micro-batches of one engine are executed in the order they were sent, except the
/// text requests (`tokenize`, `pieces`, `renderChat`, `grammar`), which have a socket and a thread of their own.
package enum EngineRequest: Sendable, Codable {
    /// First request. Progress comes as `EngineEvent.loadProgress`; the reply is `.loaded`.
    case load(StageLoadRequest)
    /// Gives a sequence its own sampler, replacing any it had; it goes on behind the history. Last stage only.
    case configureSampler(SequenceID, SamplingParameters, SamplerHistory)
    case releaseSampler(SequenceID)
    /// Forget every sequence and sampler.
    case reset
    case status
    /// Measures how fast the machine computes, for about two seconds, at low priority; the reply is `.speed`. For an
    /// engine of its own, which is ended afterwards.
    case measureSpeed(threadCount: Int)
    case tokenize(text: String, addSpecial: Bool, parseSpecial: Bool)
    /// The bytes of each token by itself.
    case pieces([TokenID])
    /// The model's own template, with the prompt for the answer appended.
    case renderChat([ChatMessage])
    /// GBNF of a JSON schema (JSON text).
    case grammar(jsonSchema: String)

    /// Whether the engine's text thread answers it, in no order with anything else.
    package var isAboutText: Bool {
        switch self {
        case .tokenize, .pieces, .renderChat, .grammar: true
        case .load, .configureSampler, .releaseSampler, .reset, .status, .measureSpeed: false
        }
    }
}

/// Which part of which file an engine holds, and how it runs it.
package struct StageLoadRequest: Sendable, Codable, Hashable {
    /// How the weights come in.
    package enum Loader: String, Sendable, Codable {
        /// The virtual GGUF: only this stage's tensors.
        case stage
        /// libllama's ordinary loader, whole model; the reference that the stage loader is tested against.
        case ordinary
    }

    /// Any file of the model; the others of a split GGUF are found beside it.
    package var path: String
    package var layers: LayerRange
    package var loader: Loader
    /// Whether this engine also tokenizes and renders: the head's.
    package var servesText: Bool
    package var threadCount: Int
    /// Per sequence.
    package var contextTokenCount: Int
    package var sequenceCountMax: Int
    package var microBatchTokenCountMax: Int
    /// Layers put on a GPU when there is one; nil means all.
    package var gpuLayerCount: Int?
    /// What activations this stage hands out.
    package var boundaryFormat: BoundaryFormat

    package init(path: String, layers: LayerRange) {
        self.path = path
        self.layers = layers
        loader = .stage
        servesText = false
        threadCount = 1
        contextTokenCount = 2048
        sequenceCountMax = 4
        microBatchTokenCountMax = 512
        boundaryFormat = .f32
    }
}

/// What an engine says of a stage that it loaded.
package struct StageLoaded: Sendable, Codable, Hashable {
    package var family: String
    package var layers: LayerRange
    package var isLast: Bool
    package var embeddingWidth: Int
    package var vocabularyTokenCount: Int
    package var loadSeconds: Double
    /// Weights that libllama holds for this stage.
    package var weightBytes: ByteCount
    /// Read from the model's files while loading, header included.
    package var bytesReadFromDisk: ByteCount
    package var residentBytes: ByteCount
    package var kvCacheBytes: ByteCount
    /// What libllama holds for the weights: more than they are where it keeps a matrix in two layouts.
    package var weightBufferBytes: ByteCount
    package var computeBufferBytes: ByteCount
    /// Whether a sequence can be shortened (false: recurrent families, which only forget whole sequences).
    package var canRemovePartialSequences: Bool

    package init(
        family: String, layers: LayerRange, isLast: Bool, embeddingWidth: Int, vocabularyTokenCount: Int,
        loadSeconds: Double, weightBytes: ByteCount, bytesReadFromDisk: ByteCount, residentBytes: ByteCount,
        kvCacheBytes: ByteCount, canRemovePartialSequences: Bool
    ) {
        self.family = family
        self.layers = layers
        self.isLast = isLast
        self.embeddingWidth = embeddingWidth
        self.vocabularyTokenCount = vocabularyTokenCount
        self.loadSeconds = loadSeconds
        self.weightBytes = weightBytes
        self.bytesReadFromDisk = bytesReadFromDisk
        self.residentBytes = residentBytes
        self.kvCacheBytes = kvCacheBytes
        weightBufferBytes = weightBytes
        computeBufferBytes = .zero
        self.canRemovePartialSequences = canRemovePartialSequences
    }
}

/// What an engine holds now.
package struct StageStatus: Sendable, Codable, Hashable {
    /// Sequences that hold KV cells, sorted.
    package var sequencesInUse: [SequenceID]
    /// Sequences that have a sampler, sorted.
    package var samplersInUse: [SequenceID]
    package var residentBytes: ByteCount
    package var microBatchCount: Int
    package var tokenCount: Int
    /// Time inside `llama_decode`.
    package var computeSeconds: Double
    /// Of micro-batches of a single token.
    package var decodeWork: StageWork
    /// Of micro-batches of many tokens.
    package var promptWork: StageWork

    package init(
        sequencesInUse: [SequenceID], samplersInUse: [SequenceID], residentBytes: ByteCount, microBatchCount: Int,
        tokenCount: Int, computeSeconds: Double
    ) {
        self.sequencesInUse = sequencesInUse
        self.samplersInUse = samplersInUse
        self.residentBytes = residentBytes
        self.microBatchCount = microBatchCount
        self.tokenCount = tokenCount
        self.computeSeconds = computeSeconds
        decodeWork = StageWork()
        promptWork = StageWork()
    }
}

/// What micro-batches of one kind took together since the engine started.
package struct StageWork: Sendable, Codable, Hashable {
    package var microBatchCount = 0
    package var tokenCount = 0
    package var outputCount = 0
    /// Sum of the tokens' positions: what each of them attended to.
    package var positionSum = 0
    package var seconds = 0.0

    package init() {}

    package static func - (left: StageWork, right: StageWork) -> StageWork {
        var difference = StageWork()
        difference.microBatchCount = left.microBatchCount - right.microBatchCount
        difference.tokenCount = left.tokenCount - right.tokenCount
        difference.outputCount = left.outputCount - right.outputCount
        difference.positionSum = left.positionSum - right.positionSum
        difference.seconds = left.seconds - right.seconds
        return difference
    }
}

/// The answer to an `EngineRequest`.
package enum EngineReply: Sendable, Codable {
    case loaded(StageLoaded)
    case done
    case status(StageStatus)
    case speed(NodeSpeed)
    case tokens([TokenID])
    case text(String)
    case pieces([[UInt8]])
    case failed(ShoalError)
}

/// What an engine says unasked.
package enum EngineEvent: Sendable, Codable {
    /// First thing after start.
    case started(EngineBuild)
    /// 0 to 1.
    case loadProgress(Double)
}

/// What an engine was built from; equal on all nodes of an instance.
package struct EngineBuild: Sendable, Codable, Hashable, CustomStringConvertible {
    package var shoalVersion: String
    package var protocolNumber: UInt8
    /// "b0-0c1e57098" and the like.
    package var llamaBuild: String

    package var description: String { "llama.cpp \(llamaBuild) in Shoal \(shoalVersion) (protocol \(protocolNumber))" }

    package init(shoalVersion: String, protocolNumber: UInt8, llamaBuild: String) {
        self.shoalVersion = shoalVersion
        self.protocolNumber = protocolNumber
        self.llamaBuild = llamaBuild
    }
}
