import ShoalCore
import ShoalModel

/// A model of any supported family, small enough to be an array.
struct SampleModel {
    var family = "llama"
    var layers = 4
    var width = 32
    var tokens = 10
    var isTied = false
    var alignment = 32
    /// Layers that have a tensor more than the others, so that sizes differ.
    var fatLayers: Set<Int> = []
    var extraKeys: (inout GGUFBuilder) -> Void = { _ in }

    func builder() -> GGUFBuilder {
        var gguf = GGUFBuilder()
        gguf.alignment = alignment
        gguf.add("general.architecture", family)
        gguf.add("general.name", "sample")
        if alignment != 32 { gguf.add("general.alignment", UInt32(alignment)) }
        gguf.add("\(family).context_length", 2048)
        gguf.add("\(family).embedding_length", UInt32(width))
        gguf.add("\(family).block_count", UInt32(layers))
        if family == "mamba" {
            gguf.add("mamba.ssm.inner_size", UInt32(2 * width))
            gguf.add("mamba.ssm.state_size", 16)
            gguf.add("mamba.ssm.conv_kernel", 4)
        } else {
            gguf.add("\(family).attention.head_count", 4)
            gguf.add("\(family).attention.head_count_kv", 2)
        }
        gguf.add("tokenizer.ggml.model", "llama")
        gguf.add("tokenizer.ggml.tokens", strings: (0..<tokens).map { "token\($0)" })
        extraKeys(&gguf)
        addTensors(&gguf)
        return gguf
    }

    func bytes() -> MemoryBytes { MemoryBytes(builder().file()) }

    func index() throws -> ModelIndex { try ModelIndex.read(bytes(), fileName: "sample.gguf") }

    private func addTensors(_ gguf: inout GGUFBuilder) {
        gguf.addTensor("token_embd.weight", [width, tokens], type: GGMLType(rawValue: 8))
        gguf.addTensor("output_norm.weight", [width])
        if !isTied { gguf.addTensor("output.weight", [width, tokens], type: GGMLType(rawValue: 2)) }
        for layer in 0..<layers {
            gguf.addTensor("blk.\(layer).attn_norm.weight", [width])
            gguf.addTensor("blk.\(layer).ffn_up.weight", [width, 3], type: GGMLType(rawValue: 8))
            if fatLayers.contains(layer) { gguf.addTensor("blk.\(layer).ffn_down.weight", [width, 7]) }
        }
        gguf.addTensor("rope_freqs.weight", [5])
    }
}

/// A virtual file put together in memory, as a loader would see it.
func materialized(_ layout: StageLayout, files: [MemoryBytes]) throws -> MemoryBytes {
    var bytes = layout.header + [UInt8](repeating: 0, count: layout.byteCount - layout.header.count)
    for extent in layout.extents {
        guard let file = extent.fileIndex else { continue }
        let data = try files[file].read(offset: extent.fileOffset, count: extent.byteCount)
        bytes.replaceSubrange(extent.virtualOffset..<extent.virtualOffset + extent.byteCount, with: data)
    }
    return MemoryBytes(bytes)
}

/// Every way to cut `layerCount` layers at the given places.
func stages(_ layerCount: Int, cuts: [Int]) -> [LayerRange] {
    let bounds = [0] + cuts + [layerCount]
    return zip(bounds, bounds.dropFirst()).compactMap { LayerRange(first: $0, end: $1) }
}
