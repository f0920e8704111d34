package import ShoalCore
package import ShoalModel

/// A node as the planner sees it.
package struct PlannerNode: Sendable, Hashable {
    package var id: NodeID
    package var name: String
    /// Free now, not in total.
    package var availableBytes: ByteCount
    /// Of the GPU that this node's engine computes on, if its memory is apart: weights, cache and compute buffers have
    /// to fit there, and only the process into `availableBytes`.
    package var acceleratorBytes: ByteCount?
    package var threadCount: Int
    /// As measured; nil means that times are guessed from the number of threads, and marked so.
    package var speed: NodeSpeed?
    /// The most layers that this node may hold; nil means as many as fit.
    package var layerCountMax: Int?
    /// Whether the node does not exist: `shoal plan --with`.
    package var isImagined: Bool

    package init(
        id: NodeID, name: String, availableBytes: ByteCount, threadCount: Int, speed: NodeSpeed? = nil,
        layerCountMax: Int? = nil, isImagined: Bool = false
    ) {
        self.id = id
        self.name = name
        self.availableBytes = availableBytes
        self.threadCount = threadCount
        self.speed = speed
        self.layerCountMax = layerCountMax
        self.isImagined = isImagined
    }
}

/// What was measured of the way from one node to another.
package struct PlannerLink: Sendable, Hashable {
    package var from: NodeID
    package var to: NodeID
    /// Median; nil if unknown.
    package var roundTripSeconds: Double?
    /// Nil if unknown.
    package var bytesPerSecond: Double?

    package init(from: NodeID, to: NodeID, roundTripSeconds: Double?, bytesPerSecond: Double?) {
        self.from = from
        self.to = to
        self.roundTripSeconds = roundTripSeconds
        self.bytesPerSecond = bytesPerSecond
    }
}

/// What to place, and for how much work.
package struct PlanRequest: Sendable {
    /// Of requests that do not say.
    package static let contextTokenCountDefault = 4096
    package static let sequenceCountDefault = 4

    /// For the report.
    package var modelName: String
    package var shape: ModelShape
    /// Per sequence.
    package var contextTokenCount: Int
    package var sequenceCount: Int
    package var microBatchTokenCountMax: Int
    /// Prompts are computed in chunks of this many tokens, which follow each other through the stages.
    package var promptChunkTokenCount: Int
    package var objective: PlanObjective
    /// The prompt that the time to the first token is predicted for.
    package var promptTokenCount: Int
    /// Empty: the planner decides.
    package var assignments: [LoadRequest.Assignment]
    /// What the head needs besides its stage: a draft model. Head-room included.
    package var headExtraBytes: ByteCount

    package init(modelName: String, shape: ModelShape) {
        self.modelName = modelName
        self.shape = shape
        contextTokenCount = min(PlanRequest.contextTokenCountDefault, shape.trainedContextTokenCount)
        sequenceCount = PlanRequest.sequenceCountDefault
        microBatchTokenCountMax = 512
        promptChunkTokenCount = 128
        objective = .latency
        promptTokenCount = min(LoadRequest.promptTokenCountDefault, contextTokenCount)
        assignments = []
        headExtraBytes = .zero
    }

    /// What a person asked for, with the defaults filled in.
    /// - Throws: `invalidRequest` if a number is out of range.
    package init(_ request: LoadRequest, modelName: String, shape: ModelShape) throws(ShoalError) {
        self.init(modelName: modelName, shape: shape)
        assignments = request.layers
        objective = request.objective ?? .latency
        contextTokenCount = try PlanRequest.checked(
            request.contextTokenCount ?? contextTokenCount, max: Limits.contextTokenCountMax, "the context in tokens")
        sequenceCount = try PlanRequest.checked(
            request.sequenceCountMax ?? sequenceCount, max: Limits.sequenceCountMax, "the number of sequences")
        let prompt = request.promptTokenCount ?? min(LoadRequest.promptTokenCountDefault, contextTokenCount)
        promptTokenCount = try PlanRequest.checked(prompt, max: contextTokenCount, "the prompt in tokens")
    }

    private static func checked(_ value: Int, max: Int, _ what: String) throws(ShoalError) -> Int {
        guard (1...max).contains(value) else {
            throw ShoalError(.invalidRequest, "\(what) is \(value); it must be between 1 and \(max)")
        }
        return value
    }
}
