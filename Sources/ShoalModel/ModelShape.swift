package import ShoalCore

/// The sizes of a model that placement needs: no names, no file positions, small enough to send.
package struct ModelShape: Sendable, Hashable, Codable {
    package var family: String
    package var embeddingWidth: Int
    package var vocabularyTokenCount: Int
    /// Tokens of context that the model was trained with.
    package var trainedContextTokenCount: Int
    /// Weights of each layer.
    package var layerBytes: [ByteCount]
    /// `token_embd.weight`.
    package var embeddingBytes: ByteCount
    /// One row of it: what stages without the output matrix carry instead.
    package var embeddingRowBytes: ByteCount
    /// The output matrix and what belongs to it, in the last stage: `token_embd.weight` where they are tied.
    package var outputBytes: ByteCount
    /// Tensors outside the layers that every stage carries: the final norm, rope factors.
    package var sharedBytes: ByteCount
    /// Keys and values of one token in each layer, 16-bit floats; zero in recurrent layers.
    package var kvBytesPerToken: [ByteCount]
    /// Recurrent state of one sequence in each layer; zero in attention layers.
    package var stateBytesPerSequence: [ByteCount]
    /// See `FamilyRecipe.peculiarLayerCount`; nil where it makes no difference to this model.
    package var peculiarLayerCount: Int?
    /// What each layer costs in time.
    package var layerWork: [LayerWork]
    /// What the output matrix costs, per output.
    package var outputWork: LayerWork
    package var graph: GraphShape
    /// Whether each layer attends to a window only; empty if the model has no window.
    package var isSlidingLayer: [Bool]
    /// Set if the last stage's output matrix is also its embedding: its type and size. libllama keeps a second copy of
    /// it where it lays matrices of that type out anew.
    package var sharedOutputType: String?
    package var sharedOutputBytes: ByteCount
    /// The files' headers, which an engine reads.
    package var headerBytes: ByteCount
    /// What a vocabulary takes in memory, estimated.
    package var vocabularyBytes: ByteCount

    package init(
        family: String, embeddingWidth: Int, vocabularyTokenCount: Int, trainedContextTokenCount: Int,
        layerBytes: [ByteCount], embeddingBytes: ByteCount, embeddingRowBytes: ByteCount, outputBytes: ByteCount,
        sharedBytes: ByteCount, kvBytesPerToken: [ByteCount], stateBytesPerSequence: [ByteCount],
        peculiarLayerCount: Int?, layerWork: [LayerWork], outputWork: LayerWork,
        graph: GraphShape
    ) {
        self.family = family
        self.embeddingWidth = embeddingWidth
        self.vocabularyTokenCount = vocabularyTokenCount
        self.trainedContextTokenCount = trainedContextTokenCount
        self.layerBytes = layerBytes
        self.embeddingBytes = embeddingBytes
        self.embeddingRowBytes = embeddingRowBytes
        self.outputBytes = outputBytes
        self.sharedBytes = sharedBytes
        self.kvBytesPerToken = kvBytesPerToken
        self.stateBytesPerSequence = stateBytesPerSequence
        self.peculiarLayerCount = peculiarLayerCount
        self.layerWork = layerWork
        self.outputWork = outputWork
        self.graph = graph
        isSlidingLayer = []
        sharedOutputType = nil
        sharedOutputBytes = .zero
        headerBytes = .zero
        vocabularyBytes = .zero
    }

    package var layerCount: Int { layerBytes.count }

    /// What one token sends over each boundary: a row of 32-bit floats.
    package var boundaryBytesPerToken: ByteCount { ByteCount(embeddingWidth * 4) }

    /// Weights of a stage: exactly the tensor bytes of its layout. `layers` must lie in the model.
    package func weightBytes(of layers: LayerRange) -> ByteCount {
        let blocks = layerBytes[layers.first..<layers.end].reduce(.zero, +)
        return blocks + sharedBytes + (layers.end == layerCount ? outputBytes : embeddingRowBytes)
    }

    /// Keys, values and states of a stage. `layers` must lie in the model.
    package func cacheBytes(of layers: LayerRange, contextTokenCount: Int, sequenceCount: Int) -> ByteCount {
        let perToken = kvBytesPerToken[layers.first..<layers.end].reduce(.zero, +)
        let perSequence = stateBytesPerSequence[layers.first..<layers.end].reduce(.zero, +)
        return (perToken * contextTokenCount + perSequence) * sequenceCount
    }

    /// Why these layers cannot be a stage, in one sentence; nil if they can.
    package func problem(with layers: LayerRange) -> String? {
        guard layers.end <= layerCount else {
            return "layers \(layers) are outside the model, which has the layers 0-\(layerCount - 1)"
        }
        guard let peculiar = peculiarLayerCount, (layers.count == peculiar) != (layerCount == peculiar) else {
            return nil
        }
        return layerCount == peculiar
            ? "\(family) models of \(peculiar) layers cannot be cut: the family computes differently "
                + "at that layer count"
            : "a stage of \(family) cannot have exactly \(peculiar) layers: the family computes differently at that "
                + "layer count; choose one layer more or less"
    }

    /// Layers before which the model may be cut, ascending.
    package var legalCuts: [Int] { layerCount == peculiarLayerCount ? [] : Array(1..<layerCount) }
}
