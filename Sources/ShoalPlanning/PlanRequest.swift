package import ShoalCore
package import ShoalModel

/// A node as the planner sees it.
package struct PlannerNode: Sendable, Hashable {
    package var id: NodeID
    package var name: String
    /// Free now, not in total.
    package var availableBytes: ByteCount
    package var threadCount: Int
    /// Of one average layer of this model, from real runs; nil if it never ran there.
    package var measuredSecondsPerLayer: Double?

    package init(
        id: NodeID, name: String, availableBytes: ByteCount, threadCount: Int, measuredSecondsPerLayer: Double? = nil
    ) {
        self.id = id
        self.name = name
        self.availableBytes = availableBytes
        self.threadCount = threadCount
        self.measuredSecondsPerLayer = measuredSecondsPerLayer
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
    /// Empty: the planner decides.
    package var assignments: [LoadRequest.Assignment]

    package init(modelName: String, shape: ModelShape) {
        self.modelName = modelName
        self.shape = shape
        contextTokenCount = min(PlanRequest.contextTokenCountDefault, shape.trainedContextTokenCount)
        sequenceCount = PlanRequest.sequenceCountDefault
        microBatchTokenCountMax = 512
        assignments = []
    }

    /// What a person asked for, with the defaults filled in.
    /// - Throws: `invalidRequest` if a number is out of range.
    package init(_ request: LoadRequest, modelName: String, shape: ModelShape) throws(ShoalError) {
        self.init(modelName: modelName, shape: shape)
        assignments = request.layers
        contextTokenCount = try PlanRequest.checked(
            request.contextTokenCount ?? contextTokenCount, max: Limits.contextTokenCountMax, "the context in tokens")
        sequenceCount = try PlanRequest.checked(
            request.sequenceCountMax ?? sequenceCount, max: Limits.sequenceCountMax, "the number of sequences")
    }

    private static func checked(_ value: Int, max: Int, _ what: String) throws(ShoalError) -> Int {
        guard (1...max).contains(value) else {
            throw ShoalError(.invalidRequest, "\(what) is \(value); it must be between 1 and \(max)")
        }
        return value
    }
}
