import ShoalCore
import ShoalModel
import Testing

@Suite("Stage layout")
struct StageLayoutTests {
    @Test("what our writer writes, our reader reads: every stage is a GGUF of its own")
    func roundTrip() throws {
        let sample = SampleModel(layers: 6, alignment: 64)
        let index = try sample.index()
        for range in stages(6, cuts: [2, 5]) {
            let layout = try index.stageLayout(range)
            let file = try materialized(layout, files: [sample.bytes()])
            let stage = try GGUFHeader.read(file, fileName: "stage")
            #expect(stage.bytes == layout.header)
            #expect(stage.alignment == 64)
            #expect(try stage.integer("llama.block_count", max: 99) == range.count)
            #expect(try stage.string("tokenizer.ggml.model") == "no_vocab")
            #expect(stage.keys.filter { $0.name.hasPrefix("tokenizer.") }.count == 1)
            let tokens = range.end == 6 ? 10 : 1
            #expect(try stage.integer("llama.vocab_size", max: 99) == tokens)
            #expect(stage.tensors.first { $0.name == "token_embd.weight" }?.dimensions == [32, tokens])
            #expect(stage.tensors.contains { $0.name == "output.weight" } == false)
            #expect(stage.tensors.contains { $0.name == "rope_freqs.weight" })
            #expect(stage.tensors.contains { $0.name == "output_norm.weight" })
            #expect(zip(stage.tensors, layout.extents).allSatisfy { $0.fileOffset == $1.virtualOffset })
        }
    }

    @Test("tensors keep their bytes under their new names")
    func bytes() throws {
        let sample = SampleModel(layers: 5, isTied: false, fatLayers: [3])
        let index = try sample.index()
        let range = try #require(LayerRange(first: 3, end: 5))
        let file = try materialized(try index.stageLayout(range), files: [sample.bytes()])
        let stage = try GGUFHeader.read(file, fileName: "stage")
        let renamed = [
            "blk.0.ffn_down.weight": "blk.3.ffn_down.weight", "blk.1.ffn_up.weight": "blk.4.ffn_up.weight",
            "token_embd.weight": "output.weight", "output_norm.weight": "output_norm.weight",
        ]
        for (newName, oldName) in renamed {
            let new = try #require(stage.tensors.first { $0.name == newName })
            let old = try #require(index.tensors.first { $0.name == oldName })
            #expect(new.type == old.type)
            let newBytes = try file.read(offset: new.fileOffset, count: new.byteCount)
            #expect(try newBytes == sample.bytes().read(offset: old.fileOffset, count: old.byteCount))
        }
    }

    @Test("a tied model's last stage has the whole embedding, the others one row of it")
    func tied() throws {
        let index = try SampleModel(isTied: true).index()
        let first = try index.stageLayout(#require(LayerRange(first: 0, end: 2)))
        let last = try index.stageLayout(#require(LayerRange(first: 2, end: 4)))
        #expect(first.extents[0].byteCount == 34)
        #expect(last.extents[0].byteCount == 340)
        #expect(first.extents[0].fileOffset == last.extents[0].fileOffset)
    }

    @Test("an output with scales of its own keeps its name, beside the embedding")
    func scaledOutput() throws {
        var gguf = SampleModel().builder()
        gguf.addTensor("output.scale", [1])
        let index = try ModelIndex.read(MemoryBytes(gguf.file()), fileName: "m.gguf")
        let layout = try index.wholeModelLayout()
        let stage = try GGUFHeader.read(materialized(layout, files: [MemoryBytes(gguf.file())]), fileName: "stage")
        let names = Set(stage.tensors.map(\.name))
        #expect(names.isSuperset(of: ["output.weight", "output.scale", "token_embd.weight"]))
        #expect(index.shape.outputBytes == ByteCount(340 + 180 + 4))
    }

    @Test("the first stage says where token rows lie and how they are scaled")
    func embedding() throws {
        let plain = try #require(try SampleModel().index().wholeModelLayout().embedding)
        #expect(plain.scale == 1)
        #expect(plain.rowByteCount == 34)
        #expect(plain.rowCount == 10)
        #expect(plain.ggmlType == 8)
        let scaled = try #require(try SampleModel(family: "gemma3").index().wholeModelLayout().embedding)
        #expect(scaled.scale == Float(32).squareRoot())
        let later = try SampleModel().index().stageLayout(#require(LayerRange(first: 1, end: 4)))
        #expect(later.embedding == nil)
    }

    @Test("a stage that is not last names the tensor at its end")
    func boundary() throws {
        let index = try SampleModel(layers: 6).index()
        #expect(try index.stageLayout(#require(LayerRange(first: 1, end: 4))).boundaryTensorName == "l_out-2")
        #expect(try index.stageLayout(#require(LayerRange(first: 1, end: 6))).boundaryTensorName == nil)
    }

    @Test("per-layer arrays are cut to the stage's layers")
    func perLayerArrays() throws {
        let index = try SampleModel(
            layers: 5, extraKeys: { $0.add("llama.feed_forward_length", int32s: [10, 11, 12, 13, 14]) }
        )
        .index()
        let layout = try index.stageLayout(#require(LayerRange(first: 1, end: 4)))
        let file = MemoryBytes(layout.header + [UInt8](repeating: 0, count: layout.byteCount - layout.header.count))
        let stage = try GGUFHeader.read(file, fileName: "stage")
        #expect(try stage.integersPerLayer("llama.feed_forward_length", layerCount: 3, max: 99) == [11, 12, 13])
    }

    @Test("gemma3: each stage gets the window pattern of its own layers, and no window where no layer uses it")
    func slidingWindow() throws {
        let index = try SampleModel(
            family: "gemma3", layers: 12, extraKeys: { $0.add("gemma3.attention.sliding_window", 512) }
        ).index()
        #expect(index.isSlidingLayer == [true, true, true, true, true, false, true, true, true, true, true, false])
        func pattern(_ first: Int, _ end: Int) throws -> (window: Int?, pattern: [Int]?) {
            let layout = try index.stageLayout(#require(LayerRange(first: first, end: end)))
            let data = [UInt8](repeating: 0, count: layout.byteCount - layout.header.count)
            let stage = try GGUFHeader.read(MemoryBytes(layout.header + data), fileName: "stage")
            return (
                try stage.integer("gemma3.attention.sliding_window", max: 1024),
                try stage.integersPerLayer("gemma3.attention.sliding_window_pattern", layerCount: end - first, max: 1)
            )
        }
        #expect(try pattern(3, 8).pattern == [1, 1, 0, 1, 1])
        #expect(try pattern(3, 8).window == 512)
        #expect(try pattern(0, 2).pattern == [1, 1])
        #expect(try pattern(5, 6).window == nil)
        #expect(try pattern(5, 6).pattern == nil)
    }

    @Test("a layer count that changes the arithmetic forbids cuts, and stages of that length")
    func peculiarLayerCount() throws {
        let large = try SampleModel(
            family: "gemma3", layers: 62, extraKeys: { $0.add("gemma3.attention.key_length", 16) }
        )
        .index()
        #expect(large.shape.legalCuts.isEmpty)
        #expect(throws: ShoalError.self) { try large.stageLayout(#require(LayerRange(first: 0, end: 30))) }
        _ = try large.wholeModelLayout()
        let larger = try SampleModel(
            family: "gemma3", layers: 63, extraKeys: { $0.add("gemma3.attention.key_length", 16) }
        )
        .index()
        #expect(throws: ShoalError.self) { try larger.stageLayout(#require(LayerRange(first: 0, end: 62))) }
        _ = try larger.stageLayout(#require(LayerRange(first: 0, end: 31)))
        let ordinary = try SampleModel(family: "gemma3", layers: 62).index()
        #expect(ordinary.shape.legalCuts.count == 61)
    }

    @Test("layers outside the model are refused with its range")
    func outside() throws {
        let index = try SampleModel().index()
        let range = try #require(LayerRange(first: 2, end: 5))
        do {
            _ = try index.stageLayout(range)
            Issue.record("accepted")
        } catch {
            #expect(error.code == .invalidPlacement)
            #expect(error.message.contains("layers 2-4 are outside the model, which has the layers 0-3"))
        }
    }

    @Test("random models: stages hold every block tensor once, in order, without overlap", arguments: 0..<60)
    func invariants(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let families = FamilyRecipe.all.map(\.family)
        let layers = Int.random(in: 1...14, using: &random)
        let sample = SampleModel(
            family: families.randomElement(using: &random) ?? "llama", layers: layers,
            width: 32 * Int.random(in: 1...3, using: &random), tokens: Int.random(in: 1...20, using: &random),
            isTied: Bool.random(using: &random), alignment: [8, 32, 64, 4096].randomElement(using: &random) ?? 32,
            fatLayers: Set((0..<layers).filter { _ in Bool.random(using: &random) }))
        let index = try sample.index()
        let cuts = (1..<max(1, layers)).filter { _ in Int.random(in: 0..<3, using: &random) == 0 }
        var seen: [String: Int] = [:]
        for range in stages(layers, cuts: cuts) {
            let layout = try index.stageLayout(range)
            var end = layout.header.count
            for extent in layout.extents {
                #expect(extent.virtualOffset >= end, "seed \(seed)")
                #expect(extent.virtualOffset % sample.alignment == 0, "seed \(seed)")
                end = extent.virtualOffset + extent.byteCount
            }
            #expect(end <= layout.byteCount, "seed \(seed)")
            let sum = layout.extents.reduce(0) { $0 + $1.byteCount }
            #expect(ByteCount(sum) == index.shape.weightBytes(of: range), "seed \(seed)")
            let stage = try GGUFHeader.read(materialized(layout, files: [sample.bytes()]), fileName: "stage")
            for tensor in stage.tensors where tensor.name.hasPrefix("blk.") {
                let parts = tensor.name.split(separator: ".", maxSplits: 2)
                let layer = try #require(Int(parts[1]))
                seen["blk.\(layer + range.first).\(parts[2])", default: 0] += 1
            }
        }
        let expected = index.tensors.map(\.name).filter { $0.hasPrefix("blk.") }
        #expect(seen == Dictionary(uniqueKeysWithValues: expected.map { ($0, 1) }), "seed \(seed)")
    }
}
