package import ShoalCore

/// What the stages engine has to know about a model family beyond its GGUF keys.
///
/// The facts were read in the pinned llama.cpp at the places named beside each row, and each row is proven by a test
/// that compares split and unsplit logits on a generated model. A family without a row is refused.
package struct FamilyRecipe: Sendable, Hashable {
    /// What the rows of `token_embd.weight` are multiplied by on the way in.
    package enum EmbeddingScale: Sendable, Hashable {
        case none
        /// The square root of the embedding width, in single precision.
        case squareRootOfWidth
    }

    /// What a layer keeps per sequence.
    package enum Memory: Sendable, Hashable {
        /// Keys and values of every token.
        case attention
        /// One state of fixed size, which cannot be shortened: only whole sequences can be forgotten.
        case recurrent
    }

    /// `general.architecture`.
    package var family: String
    package var embeddingScale = EmbeddingScale.none
    package var memory = Memory.attention
    /// Set if some layers attend to a window only: the period of the pattern when the file has none, where the last
    /// layer of each period attends to everything. Stages get the pattern written out for their own layers.
    package var slidingWindowPeriod: Int?
    /// Queries are scaled before attention, not within it; shows in the size of compute buffers.
    package var scalesQueries = false
    /// The residual is the first operand of a layer's last sum; shows in the size of compute buffers.
    package var addsResidualFirst = false
    /// A layer count that by itself changes the arithmetic of the family, so that neither may a model of that many
    /// layers be cut nor a stage of another model be that long.
    package var peculiarLayerCount: Int?

    /// Whether the end of a sequence can be removed from a stage's memory.
    package var canRemovePartialSequences: Bool { memory == .attention }

    /// Every supported family. What holds for all of them:
    /// - the residual after layer i is named `l_out-i` (`cb(cur, "l_out", il)`: llama.cpp:224, qwen2.cpp:130,
    ///   qwen3.cpp:138, phi3.cpp:169, mamba.cpp:118, gemma3.cpp:193 in src/models);
    /// - `output.weight` is optional and falls back to `token_embd.weight` (`TENSOR_DUPLICATED` in each
    ///   `load_arch_tensors`), so an untied output can be presented as the embedding;
    /// - `output_norm.weight` is required in every stage; rope factors (`rope_freqs`, `rope_factors_long`,
    ///   `rope_factors_short`) are tensors outside the blocks, loaded with the first layer: every stage has them;
    /// - `n_head`, `n_head_kv` and `n_ff` may be per-layer arrays (llama-model.cpp:1395-1404), sliced per stage;
    /// - rotary positions come from the batch, so a later stage needs no offset.
    package static let all: [FamilyRecipe] = [
        // src/models/llama.cpp: no scale (:108), plain KV (:119). Mixtures of experts are this family too (:79).
        FamilyRecipe(family: "llama"),
        // src/models/qwen2.cpp: no scale, plain KV; `output.bias` optional (:27), only in the last stage.
        FamilyRecipe(family: "qwen2"),
        // src/models/qwen3.cpp: as qwen2 with per-head norms inside the blocks.
        FamilyRecipe(family: "qwen3"),
        // src/models/phi3.cpp: a sliding window key is read and switched off (:13-23): plain KV whatever the file says.
        FamilyRecipe(family: "phi3", scalesQueries: true, addsResidualFirst: true),
        // src/models/mamba.cpp: recurrent; `llama_memory_recurrent::seq_rm` refuses partial removal
        // (llama-memory-recurrent.cpp:161).
        FamilyRecipe(family: "mamba", memory: .recurrent),
        // src/models/gemma3.cpp: token input alone is multiplied by sqrtf(n_embd), activations by exactly 1 (:91);
        // window layers by pattern, 6 unless said (:7, `load_swa_pattern` llama-model.cpp:3434 takes an array too);
        // a stage of window layers alone runs (llama-graph.cpp:618: unused inputs are skipped), one without any must
        // not declare a window (llama-model.cpp:2807, 2857), and then uses the same rope base for the same full
        // attention; 62 layers mean another attention scale (:19-30).
        FamilyRecipe(
            family: "gemma3", embeddingScale: .squareRootOfWidth, slidingWindowPeriod: 6, scalesQueries: true,
            peculiarLayerCount: 62),
    ]

    private static let table = Dictionary(uniqueKeysWithValues: all.map { ($0.family, $0) })

    /// What is assumed of a family without a row, for engines that need none: attention in every layer. For the sizes
    /// of the model only.
    static func unproven(_ family: String) -> FamilyRecipe { table[family] ?? FamilyRecipe(family: family) }

    /// The row of a family. Throws `unsupportedFamily` with the list of those that have one.
    package static func named(_ family: String, fileName: String) throws(ShoalError) -> FamilyRecipe {
        guard let recipe = table[family] else {
            let supported = all.map(\.family).joined(separator: ", ")
            throw ShoalError(
                .unsupportedFamily,
                "\(fileName): the stages engine does not support the family \(quoted(family)); it supports \(supported)"
            )
        }
        return recipe
    }
}
