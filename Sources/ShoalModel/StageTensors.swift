import ShoalCore

/// Which tensors a stage carries, and under which names.
enum StageTensors {
    /// One tensor as the stage sees it.
    struct Item {
        var name: String
        var dimensions: [Int]
        var source: ModelIndex.Tensor
        /// At most the source's: fewer when rows are cut off.
        var byteCount: Int
    }

    /// Whether the last stage shows the untied output matrix as the embedding that the stage would otherwise not use.
    ///
    /// Not if the output has scales of its own: the loader does not allow them on a tied output (llama-model.cpp:1796).
    static func presentsOutputAsEmbedding(_ tensors: [ModelIndex.Tensor]) -> Bool {
        let names = tensors.filter { $0.role == .output }.map(\.name)
        return names.contains("output.weight") && !names.contains("output.scale")
            && !names.contains("output.input_scale")
    }

    /// In the order of the model's files. `layers` must lie in the model.
    static func items(of model: ModelIndex, layers: LayerRange) -> [Item] {
        let isLast = layers.end == model.layerCount
        let swapsOutput = isLast && presentsOutputAsEmbedding(model.tensors)
        return model.tensors.compactMap { tensor in
            switch tensor.role {
            case .block(let layer, let suffix):
                layers.contains(layer) ? whole(tensor, as: "blk.\(layer - layers.first).\(suffix)") : nil
            case .embedding:
                swapsOutput ? nil : isLast ? whole(tensor, as: tensor.name) : firstRow(tensor)
            case .output:
                if !isLast {
                    nil
                } else {
                    whole(tensor, as: swapsOutput && tensor.name == "output.weight" ? "token_embd.weight" : tensor.name)
                }
            case .shared: whole(tensor, as: tensor.name)
            }
        }
    }

    private static func whole(_ tensor: ModelIndex.Tensor, as name: String) -> Item {
        Item(name: name, dimensions: tensor.dimensions, source: tensor, byteCount: tensor.byteCount)
    }

    private static func firstRow(_ tensor: ModelIndex.Tensor) -> Item {
        Item(
            name: tensor.name, dimensions: [tensor.dimensions[0], 1], source: tensor,
            byteCount: tensor.byteCount / tensor.dimensions[1])
    }
}
