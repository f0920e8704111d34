package import ShoalCore

extension ModelIndex {
    /// The virtual GGUF of a contiguous range of layers.
    /// - Throws: `invalidPlacement` if the range is outside the model or cuts where the family forbids it.
    package func stageLayout(_ layers: LayerRange) throws(ShoalError) -> StageLayout {
        if let problem = shape.problem(with: layers) {
            throw ShoalError(.invalidPlacement, "\(headers[0].fileName): \(problem)")
        }
        let isLast = layers.end == layerCount
        var writer = GGUFHeaderWriter(alignment: headers[0].alignment)
        writeKeys(of: layers, isLast: isLast, to: &writer)
        var extents: [StageLayout.Extent] = []
        for item in StageTensors.items(of: self, layers: layers) {
            let offset = writer.addTensor(
                name: item.name, dimensions: item.dimensions, type: item.source.type, byteCount: item.byteCount)
            extents.append(
                StageLayout.Extent(
                    virtualOffset: offset, byteCount: item.byteCount, fileIndex: item.source.fileIndex,
                    fileOffset: item.source.fileOffset))
        }
        let header = writer.finished()
        for index in extents.indices { extents[index].virtualOffset += header.count }
        return StageLayout(
            family: family, layers: layers, isFirst: layers.first == 0, isLast: isLast, embeddingWidth: embeddingWidth,
            header: header, extents: extents, byteCount: header.count + writer.dataByteCount,
            embedding: layers.first == 0 ? tokenEmbedding : nil,
            boundaryTensorName: isLast ? nil : "l_out-\(layers.count - 1)")
    }

    /// All layers as one stage.
    package func wholeModelLayout() throws(ShoalError) -> StageLayout {
        guard let layers else { throw ShoalError(.internal, "a model has at least one layer") }
        return try stageLayout(layers)
    }

    private var tokenEmbedding: StageLayout.Embedding {
        let scale: Float =
            switch recipe.embeddingScale {
            case .none: 1
            case .squareRootOfWidth: Float(embeddingWidth).squareRoot()
            }
        return StageLayout.Embedding(
            ggmlType: embedding.type.rawValue, fileIndex: embedding.fileIndex, fileOffset: embedding.fileOffset,
            rowByteCount: embedding.byteCount / vocabularyTokenCount, rowCount: vocabularyTokenCount, scale: scale)
    }

    /// The vocabulary is loaded apart from the stages, so its strings are left out of all of them; stages without the
    /// output matrix declare a vocabulary of one token.
    private func writeKeys(of layers: LayerRange, isLast: Bool, to writer: inout GGUFHeaderWriter) {
        let header = headers[0]
        let rewritten = Set(["block_count", "vocab_size"].map(familyKey) + slidingKeys)
        let perLayer = Set(ModelIndex.perLayerKeys.map(familyKey))
        for key in header.keys where !key.name.hasPrefix("tokenizer.") && !key.name.hasPrefix("split.") {
            if rewritten.contains(key.name) { continue }
            if key.isArray, perLayer.contains(key.name), let size = key.elementType.byteCount {
                let bytes = header.valueBytes(key).dropFirst(layers.first * size).prefix(layers.count * size)
                writer.add(key.name, elementType: key.elementType, count: layers.count, bytes: bytes)
            } else {
                writer.copy(key, from: header)
            }
        }
        writer.add("tokenizer.ggml.model", string: "no_vocab")
        writer.add(familyKey("vocab_size"), uint32: isLast ? vocabularyTokenCount : 1)
        writer.add(familyKey("block_count"), uint32: layers.count)
        writeSlidingPattern(of: layers, to: &writer)
    }

    /// Keys whose arrays have one value per layer. Source: `get_key_or_arr` in llama-model.cpp:1333-1404.
    private static let perLayerKeys = [
        "expert_used_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
    ]

    private var slidingKeys: [String] {
        isSlidingLayer.isEmpty
            ? [] : ["attention.sliding_window", "attention.sliding_window_pattern"].map(familyKey)
    }

    /// A window is declared only if the stage has a layer that uses it: the loader asserts that.
    private func writeSlidingPattern(of layers: LayerRange, to writer: inout GGUFHeaderWriter) {
        guard !isSlidingLayer.isEmpty else { return }
        let pattern = Array(isSlidingLayer[layers.first..<layers.end])
        guard pattern.contains(true), let window = headers[0].key(familyKey("attention.sliding_window")) else { return }
        writer.copy(window, from: headers[0])
        writer.add(familyKey("attention.sliding_window_pattern"), booleans: pattern)
    }
}
