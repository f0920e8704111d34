internal import CLlama
internal import CShoalEngine
package import ShoalCore
package import ShoalModel

/// The weights of one stage in memory.
///
/// Owned by the engine thread. Contexts keep their model alive.
package final class StageModel {
    /// Called with 0 to 1 while loading.
    package typealias Progress = (Float) -> Void

    package let family: String
    package let layers: LayerRange
    package let isFirst: Bool
    package let isLast: Bool
    /// Elements of an activation row.
    package let embeddingWidth: Int
    /// Elements of a row of logits; 1 in stages that are not last.
    package let vocabularyTokenCount: Int
    /// Weights that libllama holds.
    package let weightBytes: ByteCount
    /// Read from disk by the loader. The header that the layout was made from is not in it.
    package let bytesRead: ByteCount

    /// `llama_model *`.
    let pointer: OpaquePointer
    let boundaryTensorName: String?
    /// Nil where the input is activations, and in whole models, which embed by themselves.
    let embedding: TokenEmbedding?

    /// Loads a stage through its virtual GGUF. `paths` are the model's files in the order that the layout counts them.
    /// `gpuLayerCount` nil means all. Throws `fileUnreadable`, `malformedModel`, or what libllama said.
    package init(
        layout: StageLayout, paths: [String], gpuLayerCount: Int?, progress: @escaping Progress
    ) throws(ShoalError) {
        let file = try VirtualFile(layout: layout, paths: paths)
        let model = StageModel.load(gpuLayerCount: gpuLayerCount, progress: progress) { parameters in
            llama_model_load_from_file_ptr(file.stream, parameters)
        }
        guard let model else {
            let reason = file.readError ?? "llama_model_load_from_file_ptr returned NULL"
            throw ShoalError(
                file.readError == nil ? .malformedModel : .fileUnreadable,
                "layers \(layout.layers) of the \(layout.family) model \(paths.first ?? ""): "
                    + "\(reason)\(LlamaLibrary.loggedErrors())"
            )
        }
        pointer = model
        family = layout.family
        layers = layout.layers
        isFirst = layout.isFirst
        isLast = layout.isLast
        embeddingWidth = layout.embeddingWidth
        boundaryTensorName = layout.boundaryTensorName
        vocabularyTokenCount = Int(llama_vocab_n_tokens(llama_model_get_vocab(model)))
        weightBytes = ByteCount(Int(llama_model_size(model)))
        bytesRead = ByteCount(file.bytesRead)
        do {
            embedding = try StageModel.embedding(of: layout, paths: paths)
        } catch {
            llama_model_free(model)
            throw error
        }
    }

    /// Loads a whole model with libllama's ordinary loader: the reference. `layers` is the whole range.
    package init(
        wholeModel paths: [String], family: String, layers: LayerRange, fileBytes: ByteCount, gpuLayerCount: Int?,
        progress: @escaping Progress
    ) throws(ShoalError) {
        let model = StageModel.load(gpuLayerCount: gpuLayerCount, progress: progress) { parameters in
            LlamaLoading.open(paths, parameters)
        }
        guard let model else {
            throw ShoalError(
                .malformedModel, "\(paths.first ?? ""): libllama's loader returned NULL\(LlamaLibrary.loggedErrors())")
        }
        pointer = model
        self.family = family
        self.layers = layers
        isFirst = true
        isLast = true
        embeddingWidth = Int(llama_model_n_embd(model))
        boundaryTensorName = nil
        vocabularyTokenCount = Int(llama_vocab_n_tokens(llama_model_get_vocab(model)))
        weightBytes = ByteCount(Int(llama_model_size(model)))
        bytesRead = fileBytes
        embedding = nil
    }

    deinit { llama_model_free(pointer) }

    /// Whether tokens are libllama's own input (whole models), not activation rows.
    var takesTokens: Bool { isFirst && embedding == nil }

    /// Whether a state per sequence exists that cannot be rolled back.
    package var isRecurrent: Bool { llama_model_is_recurrent(pointer) || llama_model_is_hybrid(pointer) }

    private static func embedding(of layout: StageLayout, paths: [String]) throws(ShoalError) -> TokenEmbedding? {
        guard layout.isFirst else { return nil }
        guard let embedding = layout.embedding else {
            throw ShoalError(.internal, "the layout of a first stage (layers \(layout.layers)) has no embedding")
        }
        return try TokenEmbedding(embedding, paths: paths, width: layout.embeddingWidth)
    }

    private static func load(
        gpuLayerCount: Int?, progress: @escaping Progress, _ body: (llama_model_params) -> OpaquePointer?
    ) -> OpaquePointer? {
        LlamaLibrary.start()
        _ = LlamaLibrary.loggedErrors()
        var parameters = llama_model_default_params()
        parameters.load_mode = LLAMA_LOAD_MODE_NONE
        parameters.use_extra_bufts = true
        parameters.n_gpu_layers = gpuLayerCount.map { Int32(clamping: $0) } ?? -1
        let box = ProgressBox(progress)
        parameters.progress_callback = { value, context in
            if let context { Unmanaged<ProgressBox>.fromOpaque(context).takeUnretainedValue().report(value) }
            return true
        }
        parameters.progress_callback_user_data = Unmanaged.passUnretained(box).toOpaque()
        return withExtendedLifetime(box) { body(parameters) }
    }
}

/// Carries a Swift closure through libllama.
private final class ProgressBox {
    let report: StageModel.Progress

    init(_ report: @escaping StageModel.Progress) { self.report = report }
}

/// libllama's ordinary loaders.
enum LlamaLoading {
    /// One file, or the files of a split model in order.
    static func open(_ paths: [String], _ parameters: llama_model_params) -> OpaquePointer? {
        guard paths.count > 1 else { return paths.first.flatMap { llama_model_load_from_file($0, parameters) } }
        return withCStrings(paths) { pointers in
            llama_model_load_from_splits(UnsafeMutablePointer(mutating: pointers), paths.count, parameters)
        }
    }
}
