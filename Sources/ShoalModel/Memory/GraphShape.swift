/// What the size of a family's compute buffers depends on.
package struct GraphShape: Sendable, Hashable, Codable {
    /// How gate and up projection of the feed-forward part come.
    package enum Gate: String, Sendable, Codable {
        case separate
        /// One matrix of twice the width.
        case fused
    }

    package var embeddingWidth: Int
    /// Rows of the query, key and value projections.
    package var queryWidth = 0
    package var keyWidth = 0
    package var valueWidth = 0
    /// Query, key and value come from one matrix.
    package var isFusedProjection = false
    package var hasProjectionBias = false
    package var hasHeadNorms = false
    package var hasPostNorms = false
    package var scalesInput = false
    package var scalesQueries = false
    package var addsResidualFirst = false
    package var feedForwardWidth = 0
    package var gate = Gate.separate
    /// Zero without experts.
    package var expertCount = 0
    package var usedExpertCount = 0
    /// Zero in attention families.
    package var innerWidth = 0
    package var stateWidth = 0
    package var kernelWidth = 0
    package var stepRank = 0

    package init(embeddingWidth: Int) { self.embeddingWidth = embeddingWidth }
}

/// The micro-batch that libllama reserves its compute buffers for, and what of the model a stage has.
package struct GraphLoad: Sendable, Hashable {
    package var tokenCount: Int
    /// Rows of logits, or all tokens in a stage that is not last.
    package var outputCount: Int
    package var sequenceCount: Int
    /// Of one sequence.
    package var cellCount: Int
    /// One in stages that are not last.
    package var vocabularyTokenCount: Int
    /// For each layer whether it attends to a window only; more than three layers need no more than three.
    package var isSlidingLayer: [Bool]

    /// Entries of one micro-batch of the last stage that may want an output.
    package static func outputCountMax(tokenCount: Int, sequenceCount: Int) -> Int {
        min(tokenCount, max(64, 8 * sequenceCount))
    }

    /// KV cells that a stage makes for each sequence. libllama rounds them up, lowers its batch to all cells together
    /// and asserts that none is larger; source: `llama_context`, llama-context.cpp.
    package static func cellsPerSequence(
        contextTokenCount: Int, sequenceCount: Int, microBatchTokenCountMax: Int
    ) -> Int {
        let share = (microBatchTokenCountMax + sequenceCount - 1) / max(1, sequenceCount)
        return (max(contextTokenCount, share) + cellMultiple - 1) / cellMultiple * cellMultiple
    }

    private static let cellMultiple = 256

    package init(
        tokenCount: Int, outputCount: Int, sequenceCount: Int, cellCount: Int, vocabularyTokenCount: Int,
        isSlidingLayer: [Bool]
    ) {
        self.tokenCount = tokenCount
        self.outputCount = outputCount
        self.sequenceCount = sequenceCount
        self.cellCount = cellCount
        self.vocabularyTokenCount = vocabularyTokenCount
        self.isSlidingLayer = isSlidingLayer
    }
}

extension GraphShape {
    /// What libllama reserves to compute a stage's micro-batches: its worst-case graph of a prompt.
    package func computeByteCount(_ load: GraphLoad) -> Int {
        innerWidth > 0
            ? RecurrentGraph(shape: self, load: load).reservedByteCount()
            : AttentionGraph(shape: self, load: load).reservedByteCount()
    }
}
