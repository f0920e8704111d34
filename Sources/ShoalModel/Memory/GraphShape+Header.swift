import ShoalCore

extension GraphShape {
    /// Takes the widths from the tensors of all files of the model, the largest of any layer.
    init(
        header: GGUFHeader, tensors: [GGUFHeader.Tensor], recipe: FamilyRecipe, embeddingWidth: Int
    ) throws(ShoalError) {
        self.init(embeddingWidth: embeddingWidth)
        let widths = GraphShape.widths(of: tensors)
        scalesInput = recipe.embeddingScale != .none
        scalesQueries = recipe.scalesQueries
        addsResidualFirst = recipe.addsResidualFirst
        func key(_ name: String) throws(ShoalError) -> Int {
            try header.integer("\(recipe.family).\(name)", max: Int(Int32.max)) ?? 0
        }
        switch recipe.memory {
        case .recurrent:
            innerWidth = try key("ssm.inner_size")
            stateWidth = try key("ssm.state_size")
            kernelWidth = max(1, try key("ssm.conv_kernel"))
            stepRank = try key("ssm.time_step_rank")
        case .attention:
            takeAttention(widths)
            if isFusedProjection { try splitFusedProjection(header, recipe) }
            takeFeedForward(widths)
            if expertCount > 0 { usedExpertCount = try usedExperts(header, recipe) }
        }
    }

    private mutating func takeAttention(_ widths: [String: Int]) {
        queryWidth = widths["attn_q.weight"] ?? 0
        keyWidth = widths["attn_k.weight"] ?? 0
        valueWidth = widths["attn_v.weight"] ?? 0
        isFusedProjection = widths["attn_qkv.weight"] != nil
        hasProjectionBias = widths["attn_q.bias"] != nil
        hasHeadNorms = widths["attn_q_norm.weight"] != nil
        hasPostNorms = widths["post_attention_norm.weight"] != nil
    }

    /// As the loader divides it: keys and values by their heads, the rest is queries.
    private mutating func splitFusedProjection(_ header: GGUFHeader, _ recipe: FamilyRecipe) throws(ShoalError) {
        let layerCount = try header.integer("\(recipe.family).block_count", max: Limits.layerCountMax) ?? 0
        func heads(_ name: String) throws(ShoalError) -> Int? {
            try header.integersPerLayer("\(recipe.family).\(name)", layerCount: layerCount, max: 1 << 14)?.max()
        }
        let headCount = max(1, try heads("attention.head_count") ?? 1)
        let kvHeadCount = try heads("attention.head_count_kv") ?? headCount
        let size = embeddingWidth / headCount
        let keyLength = try header.integer("\(recipe.family).attention.key_length", max: 1 << 14) ?? size
        let valueLength = try header.integer("\(recipe.family).attention.value_length", max: 1 << 14) ?? size
        (queryWidth, keyWidth, valueWidth) = (headCount * keyLength, kvHeadCount * keyLength, kvHeadCount * valueLength)
    }

    private mutating func takeFeedForward(_ widths: [String: Int]) {
        expertCount = widths["ffn_gate_inp.weight"] ?? 0
        feedForwardWidth = widths[expertCount > 0 ? "ffn_up_exps.weight" : "ffn_up.weight"] ?? 0
        guard expertCount == 0, widths["ffn_gate.weight"] == nil else { return }
        gate = .fused
        feedForwardWidth /= 2
    }

    private func usedExperts(_ header: GGUFHeader, _ recipe: FamilyRecipe) throws(ShoalError) -> Int {
        let layerCount = try header.integer("\(recipe.family).block_count", max: Limits.layerCountMax) ?? 0
        let used = try header.integersPerLayer(
            "\(recipe.family).expert_used_count", layerCount: layerCount, max: GraphShape.usedExpertCountMax)
        return max(1, used?.max() ?? 1)
    }

    private static let usedExpertCountMax = 1 << 12

    /// Rows of matrices and elements of vectors, by the name behind "blk.N.".
    private static func widths(of tensors: [GGUFHeader.Tensor]) -> [String: Int] {
        var widths: [String: Int] = [:]
        for tensor in tensors where tensor.name.hasPrefix("blk.") {
            let parts = tensor.name.split(separator: ".", maxSplits: 2)
            guard parts.count == 3 else { continue }
            let width = tensor.dimensions.count > 1 ? tensor.dimensions[1] : tensor.dimensions.first ?? 0
            widths[String(parts[2]), default: 0] = max(widths[String(parts[2])] ?? 0, width)
        }
        return widths
    }
}
