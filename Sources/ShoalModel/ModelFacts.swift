import ShoalCore

/// The numbers of a model's metadata, checked.
struct ModelFacts {
    let family: String
    let fileName: String
    let layerCount: Int
    let embeddingWidth: Int
    let trainedContextTokenCount: Int
    let kvBytesPerToken: [ByteCount]
    let stateBytesPerSequence: [ByteCount]
    let isSlidingLayer: [Bool]
    let peculiarLayerCount: Int?
    /// Query heads x (key length + value length); zero in recurrent families.
    private let attentionElementCounts: [Int]
    /// The part of a layer's experts that one token uses; 1 without experts.
    private let expertShare: Double
    private let windowTokenCount: Int?
    private let vocabularyBytes: ByteCount
    private let graph: GraphShape

    /// Larger than in any model; small enough that four of them do not overflow together.
    private static let widthMax = 1 << 20
    private static let headCountMax = 1 << 14
    private static let keyElementCountMax = 1 << 14
    private static let expertCountMax = 1 << 14
    /// Per layer; with `Limits` on layers, tokens and sequences, a whole cache stays below 2^63 bytes.
    private static let kvByteCountMax = 4 << 20
    private static let stateByteCountMax = 4 << 30

    /// From the keys of the first file and the tensors of all. `anyFamily` guesses what a family without a recipe may
    /// lack, on the large side.
    init(
        header: GGUFHeader, tensors: [GGUFHeader.Tensor], recipe: FamilyRecipe, anyFamily: Bool
    ) throws(ShoalError) {
        let keys = FamilyKeys(header: header, family: recipe.family)
        family = recipe.family
        fileName = header.fileName
        layerCount = try keys.required("block_count", max: Limits.layerCountMax)
        embeddingWidth = try keys.required("embedding_length", max: ModelFacts.widthMax)
        trainedContextTokenCount = try keys.required("context_length", max: Int(Int32.max))
        let extra = try keys.optional("nextn_predict_layers", max: Limits.layerCountMax) ?? 0
        if extra > 0, !anyFamily {
            throw ShoalError(
                .unsupportedFamily,
                "\(header.fileName): its last \(extra) layers predict further tokens, "
                    + "for which the stages engine has no place"
            )
        }
        isSlidingLayer = try ModelFacts.slidingLayers(keys, recipe, layerCount: layerCount)
        windowTokenCount =
            isSlidingLayer.isEmpty ? nil : try keys.optional("attention.sliding_window", max: Int(UInt32.max))
        expertShare = try ModelFacts.expertShare(keys, layerCount: layerCount)
        vocabularyBytes = ModelFacts.vocabularyBytes(header)
        graph = try GraphShape(header: header, tensors: tensors, recipe: recipe, embeddingWidth: embeddingWidth)
        let none = Array(repeating: ByteCount.zero, count: layerCount)
        switch recipe.memory {
        case .attention:
            let heads: Heads
            do throws(ShoalError) {
                heads = try ModelFacts.heads(keys, layerCount: layerCount, embeddingWidth: embeddingWidth)
            } catch {
                guard anyFamily else { throw error }
                let ones = Array(repeating: 1, count: layerCount)
                heads = Heads(
                    headCounts: ones, headCount: 1, kvHeadCounts: ones, keyLength: embeddingWidth,
                    valueLength: embeddingWidth)
            }
            let bytes = heads.kvHeadCounts.map { $0 * (heads.keyLength + heads.valueLength) * 2 }
            guard bytes.allSatisfy({ $0 <= ModelFacts.kvByteCountMax }) else {
                throw ShoalError(
                    .malformedModel, "\(header.fileName): its keys and values are impossibly large per token")
            }
            kvBytesPerToken = bytes.map { ByteCount($0) }
            stateBytesPerSequence = none
            attentionElementCounts = heads.headCounts.map { $0 * (heads.keyLength + heads.valueLength) }
            let ordinaryScale = embeddingWidth / heads.headCount == heads.keyLength
            peculiarLayerCount = ordinaryScale ? nil : recipe.peculiarLayerCount
        case .recurrent:
            kvBytesPerToken = none
            attentionElementCounts = Array(repeating: 0, count: layerCount)
            let state = try ModelFacts.stateBytes(keys)
            stateBytesPerSequence = Array(repeating: state, count: layerCount)
            peculiarLayerCount = recipe.peculiarLayerCount
        }
    }

    func shape(tensors: [ModelIndex.Tensor], embedding: ModelIndex.Tensor) throws(ShoalError) -> ModelShape {
        var layerBytes = Array(repeating: ByteCount.zero, count: layerCount)
        var outputBytes = ByteCount.zero
        var sharedBytes = ByteCount.zero
        var layerSums = Array(repeating: LayerWork.Sum(), count: layerCount)
        var outputSum = LayerWork.Sum()
        for tensor in tensors {
            // No sum can overflow: the header reader has checked that all tensors fit into their files.
            let bytes = ByteCount(tensor.byteCount)
            switch tensor.role {
            case .block(let layer, let suffix):
                layerBytes[layer] += bytes
                layerSums[layer].add(tensor, suffix: suffix)
            case .embedding: break
            case .output:
                outputBytes += bytes
                outputSum.add(tensor, suffix: tensor.name)
            case .shared: sharedBytes += bytes
            }
        }
        let rowCount = embedding.dimensions[1]
        if !StageTensors.presentsOutputAsEmbedding(tensors) { outputBytes += ByteCount(embedding.byteCount) }
        if !tensors.contains(where: { $0.name == "output.weight" }) { outputSum.add(embedding, suffix: "") }
        var shape = ModelShape(
            family: family, embeddingWidth: embeddingWidth, vocabularyTokenCount: rowCount,
            trainedContextTokenCount: trainedContextTokenCount, layerBytes: layerBytes,
            embeddingBytes: ByteCount(embedding.byteCount),
            embeddingRowBytes: ByteCount(embedding.byteCount / rowCount),
            outputBytes: outputBytes, sharedBytes: sharedBytes, kvBytesPerToken: kvBytesPerToken,
            stateBytesPerSequence: stateBytesPerSequence, peculiarLayerCount: peculiarLayerCount,
            layerWork: layerSums.enumerated().map { layer, sum in
                sum.work(
                    embeddingWidth: embeddingWidth, attentionElementCount: attentionElementCounts[layer],
                    expertShare: expertShare,
                    windowTokenCount: isSlidingLayer.isEmpty || !isSlidingLayer[layer] ? nil : windowTokenCount)
            },
            outputWork: outputSum.work(
                embeddingWidth: 0, attentionElementCount: 0, expertShare: 1, windowTokenCount: nil),
            graph: graph)
        shape.isSlidingLayer = isSlidingLayer
        shape.vocabularyBytes = vocabularyBytes
        let output = tensors.first { $0.name == "output.weight" }
        if output == nil || StageTensors.presentsOutputAsEmbedding(tensors) {
            let shared = output ?? embedding
            shape.sharedOutputType = shared.type.name
            shape.sharedOutputBytes = ByteCount(shared.byteCount)
        }
        return shape
    }

    /// `expert_used_count` may be an array (llama-model.cpp:1333); the layers' mean is close enough for times.
    private static func expertShare(_ keys: FamilyKeys, layerCount: Int) throws(ShoalError) -> Double {
        guard let count = try keys.optional("expert_count", max: expertCountMax), count > 0,
            let used = try keys.perLayer("expert_used_count", layerCount: layerCount, max: expertCountMax)
        else { return 1 }
        return min(1, Double(used.reduce(0, +)) / Double(max(1, used.count)) / Double(count))
    }

    /// Of libllama's tables; measured with byte-pair and unigram vocabularies of 32,000 to 152,000 tokens.
    private static func vocabularyBytes(_ header: GGUFHeader) -> ByteCount {
        let tokenCount = header.key("tokenizer.ggml.tokens")?.elementCount ?? 0
        let mergeCount = header.key("tokenizer.ggml.merges")?.elementCount ?? 0
        return ByteCount(tokenCount * bytesPerToken + mergeCount * bytesPerMerge)
    }

    private static let bytesPerToken = 220
    private static let bytesPerMerge = 200

    private struct Heads {
        var headCounts: [Int]
        var headCount: Int
        var kvHeadCounts: [Int]
        var keyLength: Int
        var valueLength: Int
    }

    /// As llama-model.cpp reads them (:1395-1443): KV heads default to heads, head sizes to width / heads.
    private static func heads(_ keys: FamilyKeys, layerCount: Int, embeddingWidth: Int) throws(ShoalError) -> Heads {
        let counts = try keys.perLayer("attention.head_count", layerCount: layerCount, max: headCountMax)
        guard let counts, let headCount = counts.first, headCount > 0 else {
            throw keys.missing("attention.head_count")
        }
        let kvCounts = try keys.perLayer("attention.head_count_kv", layerCount: layerCount, max: headCountMax)
        let size = embeddingWidth / headCount
        return Heads(
            headCounts: counts, headCount: headCount, kvHeadCounts: kvCounts ?? counts,
            keyLength: try keys.optional("attention.key_length", max: keyElementCountMax) ?? size,
            valueLength: try keys.optional("attention.value_length", max: keyElementCountMax) ?? size)
    }

    /// `n_embd_r` and `n_embd_s` of llama-hparams.cpp, in 32-bit floats (llama-model.cpp:2672).
    private static func stateBytes(_ keys: FamilyKeys) throws(ShoalError) -> ByteCount {
        let inner = try keys.required("ssm.inner_size", max: widthMax)
        let state = try keys.required("ssm.state_size", max: widthMax)
        let kernel = try keys.required("ssm.conv_kernel", max: widthMax)
        let bytes = (kernel - 1) * inner * 4 + state * inner * 4
        guard bytes <= stateByteCountMax else {
            throw ShoalError(.malformedModel, "\(keys.header.fileName): its recurrent state is impossibly large")
        }
        return ByteCount(bytes)
    }

    /// `load_swa_pattern` of llama-model.cpp:3434 and `set_swa_pattern` of llama-hparams.cpp:8.
    private static func slidingLayers(
        _ keys: FamilyKeys, _ recipe: FamilyRecipe, layerCount: Int
    ) throws(ShoalError) -> [Bool] {
        guard let usual = recipe.slidingWindowPeriod else { return [] }
        guard let window = try keys.optional("attention.sliding_window", max: Int(UInt32.max)), window > 0 else {
            return []
        }
        let name = "attention.sliding_window_pattern"
        if keys.isArray(name) {
            return (try keys.perLayer(name, layerCount: layerCount, max: 1) ?? []).map { $0 != 0 }
        }
        let period = try keys.optional(name, max: Limits.layerCountMax) ?? usual
        return (0..<layerCount).map { period == 0 || $0 % period < period - 1 }
    }
}

/// The keys of one family in a header.
private struct FamilyKeys {
    let header: GGUFHeader
    let family: String

    func optional(_ name: String, max: Int) throws(ShoalError) -> Int? {
        try header.integer("\(family).\(name)", max: max)
    }

    /// Positive.
    func required(_ name: String, max: Int) throws(ShoalError) -> Int {
        guard let value = try optional(name, max: max), value > 0 else { throw missing(name) }
        return value
    }

    func perLayer(_ name: String, layerCount: Int, max: Int) throws(ShoalError) -> [Int]? {
        try header.integersPerLayer("\(family).\(name)", layerCount: layerCount, max: max)
    }

    func isArray(_ name: String) -> Bool { header.key("\(family).\(name)")?.isArray ?? false }

    func missing(_ name: String) -> ShoalError {
        ShoalError(.malformedModel, "\(header.fileName): the key \(quoted("\(family).\(name)")) is missing or zero")
    }
}
