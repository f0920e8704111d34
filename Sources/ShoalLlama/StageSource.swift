package import ShoalCore
internal import ShoalModel
internal import ShoalStore

/// Where a stage comes from: the model's files, and which layers of them.
package struct StageSource {
    private let stored: StoredModel
    private let layers: LayerRange
    private let isWhole: Bool
    private let gpuLayerCount: Int?

    /// Opens the model at `path` (any of its files) and reads its headers. `usesOrdinaryLoader` loads the whole model
    /// with libllama's own loader, and `layers` must be all of them.
    ///
    /// Throws `fileUnreadable`, `malformedModel`, `unsupportedFamily`, `invalidPlacement`.
    package init(
        path: String, layers: LayerRange, usesOrdinaryLoader: Bool, gpuLayerCount: Int?
    ) throws(ShoalError) {
        stored = try StoredModel.open(path: path)
        self.layers = layers
        isWhole = usesOrdinaryLoader
        self.gpuLayerCount = gpuLayerCount
        guard !usesOrdinaryLoader || layers == stored.index.layers else {
            throw ShoalError(
                .invalidPlacement,
                "layers \(layers) of \(stored.index.layerCount): the ordinary loader takes the whole model")
        }
    }

    /// Of the whole model.
    package var vocabularyTokenCount: Int { stored.index.vocabularyTokenCount }

    /// What reading the headers took from disk.
    package var headerBytes: ByteCount { ByteCount(stored.index.headers.reduce(0) { $0 + $1.bytes.count }) }

    /// Reads the weights.
    package func load(progress: @escaping StageModel.Progress) throws(ShoalError) -> StageModel {
        guard isWhole else {
            return try StageModel(
                layout: try stored.index.stageLayout(layers), paths: paths, gpuLayerCount: gpuLayerCount,
                progress: progress)
        }
        return try StageModel(
            wholeModel: paths, family: stored.index.family, layers: layers,
            fileBytes: stored.byteCount.minus(headerBytes),
            gpuLayerCount: gpuLayerCount, progress: progress)
    }

    /// Reads the vocabulary, once more from the files: stages carry none.
    package func vocabulary() throws(ShoalError) -> Vocabulary { try Vocabulary(paths: paths) }

    private var paths: [String] { stored.files.map(\.path) }
}
