#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// Writes a small llama GGUF that the model reader accepts; fake engines never look into it.
package struct TinyModelFile {
    package var layerCount = 12
    package var width = 16
    /// Files with different seeds have the same shape and different content.
    package var seed: UInt8

    private static let tokenCount = 8

    package init(seed: UInt8 = 0) { self.seed = seed }

    /// Writes `name` into `folder` and returns its path.
    package func write(to folder: String, name: String = "tiny.gguf") throws -> String {
        let path = folder + "/" + name
        try Data(bytes()).write(to: URL(fileURLWithPath: path))
        return path
    }

    /// The file's content.
    package func bytes() -> [UInt8] {
        let keys = keys()
        let tensors = tensors()
        var bytes = Array("GGUF".utf8) + little(UInt32(3)) + little(UInt64(tensors.count)) + little(UInt64(keys.count))
        bytes += keys.joined()
        var offset = 0
        for (name, dimensions) in tensors {
            bytes += text(name) + little(UInt32(dimensions.count))
            for size in dimensions { bytes += little(UInt64(size)) }
            bytes += little(UInt32(0)) + little(UInt64(offset))
            offset += padded(dimensions.reduce(4, *))
        }
        bytes += [UInt8](repeating: 0, count: padded(bytes.count) - bytes.count)
        return bytes + [UInt8](repeating: seed, count: offset)
    }

    private func keys() -> [[UInt8]] {
        let header = little(UInt32(8)) + little(UInt64(Self.tokenCount))
        let tokens = header + (0..<Self.tokenCount).flatMap { text("token\($0)") }
        return [
            key("general.architecture", 8, text("llama")), key("general.name", 8, text("tiny")),
            key("llama.context_length", 4, little(UInt32(4096))),
            key("llama.embedding_length", 4, little(UInt32(width))),
            key("llama.block_count", 4, little(UInt32(layerCount))),
            key("llama.attention.head_count", 4, little(UInt32(4))),
            key("llama.attention.head_count_kv", 4, little(UInt32(2))),
            key("tokenizer.ggml.model", 8, text("llama")), key("tokenizer.ggml.tokens", 9, tokens),
        ]
    }

    private func tensors() -> [(String, [Int])] {
        let ends = [
            ("token_embd.weight", [width, Self.tokenCount]), ("output_norm.weight", [width]),
            ("output.weight", [width, Self.tokenCount]),
        ]
        return ends
            + (0..<layerCount).flatMap { layer in
                [("blk.\(layer).attn_norm.weight", [width]), ("blk.\(layer).ffn_up.weight", [width, 4])]
            }
    }

    private func key(_ name: String, _ type: UInt32, _ value: [UInt8]) -> [UInt8] { text(name) + little(type) + value }

    private func padded(_ count: Int) -> Int { (count + 31) / 32 * 32 }

    private func text(_ value: String) -> [UInt8] { little(UInt64(value.utf8.count)) + Array(value.utf8) }

    private func little(_ value: some FixedWidthInteger) -> [UInt8] {
        (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
}
