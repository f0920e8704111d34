package import ShoalCore

/// The virtual GGUF of one stage: a header that is made in memory, and where each tensor's bytes lie in the real files.
///
/// A stage is a smaller model. libllama reads it as if it were a file: first `header`, then the tensors, whose bytes
/// are served from the user's files in place. Nothing is copied on disk.
package struct StageLayout: Sendable, Hashable {
    /// A run of tensor bytes.
    package struct Extent: Sendable, Hashable {
        /// Where the virtual file shows them; ascending, never overlapping.
        package var virtualOffset: Int
        package var byteCount: Int
        /// Index into the model's list of files; nil means zeros.
        package var fileIndex: Int?
        /// Where they lie in that file.
        package var fileOffset: Int

        package init(virtualOffset: Int, byteCount: Int, fileIndex: Int?, fileOffset: Int) {
            self.virtualOffset = virtualOffset
            self.byteCount = byteCount
            self.fileIndex = fileIndex
            self.fileOffset = fileOffset
        }
    }

    /// How token ids become the first stage's input rows.
    package struct Embedding: Sendable, Hashable {
        /// ggml's number of the rows' type.
        package var ggmlType: UInt32
        package var fileIndex: Int
        /// Of row 0.
        package var fileOffset: Int
        package var rowByteCount: Int
        package var rowCount: Int
        /// Multiplied onto each element; 1 for most families.
        package var scale: Float

        package init(ggmlType: UInt32, fileIndex: Int, fileOffset: Int, rowByteCount: Int, rowCount: Int, scale: Float)
        {
            self.ggmlType = ggmlType
            self.fileIndex = fileIndex
            self.fileOffset = fileOffset
            self.rowByteCount = rowByteCount
            self.rowCount = rowCount
            self.scale = scale
        }
    }

    package var family: String
    package var layers: LayerRange
    package var isFirst: Bool
    package var isLast: Bool
    package var embeddingWidth: Int
    /// The GGUF header, padded to the alignment: tensor data starts right after it.
    package var header: [UInt8]
    package var extents: [Extent]
    /// Of the whole virtual file.
    package var byteCount: Int
    /// Present in the first stage.
    package var embedding: Embedding?
    /// The graph tensor that holds the residual after the stage's last layer; nil in the last stage.
    package var boundaryTensorName: String?

    package init(
        family: String, layers: LayerRange, isFirst: Bool, isLast: Bool, embeddingWidth: Int, header: [UInt8],
        extents: [Extent], byteCount: Int, embedding: Embedding?, boundaryTensorName: String?
    ) {
        self.family = family
        self.layers = layers
        self.isFirst = isFirst
        self.isLast = isLast
        self.embeddingWidth = embeddingWidth
        self.header = header
        self.extents = extents
        self.byteCount = byteCount
        self.embedding = embedding
        self.boundaryTensorName = boundaryTensorName
    }
}
