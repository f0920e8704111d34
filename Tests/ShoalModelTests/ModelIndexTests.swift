import ShoalCore
import ShoalModel
import Testing

@Suite("Model index")
struct ModelIndexTests {
    @Test("sizes come from the header", arguments: [true, false])
    func sizes(isTied: Bool) throws {
        let shape = try SampleModel(isTied: isTied, fatLayers: [1]).index().shape
        #expect(shape.layerCount == 4)
        #expect(shape.vocabularyTokenCount == 10)
        #expect(shape.trainedContextTokenCount == 2048)
        #expect(shape.layerBytes.map(\.rawValue) == [230, 230 + 896, 230, 230])
        #expect(shape.embeddingBytes == ByteCount(340))
        #expect(shape.embeddingRowBytes == ByteCount(34))
        #expect(shape.outputBytes == ByteCount(isTied ? 340 : 180))
        #expect(shape.sharedBytes == ByteCount(128 + 20))
        // Two KV heads of 8 elements, keys and values, 2 bytes each.
        #expect(shape.kvBytesPerToken == Array(repeating: ByteCount(64), count: 4))
    }

    @Test("KV bytes follow per-layer head counts and head sizes of their own")
    func kvBytes() throws {
        var gguf = SampleModel(family: "qwen3").builder()
        gguf.add("qwen3.attention.key_length", 16)
        gguf.add("qwen3.attention.value_length", 4)
        let index = try ModelIndex.read(MemoryBytes(gguf.file()), fileName: "m.gguf")
        #expect(index.shape.kvBytesPerToken[0] == ByteCount(2 * 20 * 2))
    }

    @Test("recurrent layers keep a state per sequence and nothing per token")
    func recurrent() throws {
        let index = try SampleModel(family: "mamba").index()
        #expect(index.shape.kvBytesPerToken[0] == .zero)
        #expect(index.shape.stateBytesPerSequence[0] == ByteCount((3 * 64 + 16 * 64) * 4))
        #expect(index.recipe.canRemovePartialSequences == false)
    }

    @Test("an unlisted family is refused with its name and the list of those that work")
    func unsupportedFamily() {
        let error = failure { try SampleModel(family: "gpt2").index() }
        #expect(error?.code == .unsupportedFamily)
        #expect(error?.message.contains("\"gpt2\"") == true)
        #expect(error?.message.contains("llama, qwen2, qwen3, phi3, mamba, gemma3") == true)
    }

    @Test("missing keys and tensors are named")
    func missing() {
        var gguf = GGUFBuilder()
        gguf.add("general.name", "nothing")
        #expect(failure { try index(gguf) }?.message.contains("general.architecture") == true)
        gguf.add("general.architecture", "llama")
        #expect(failure { try index(gguf) }?.message.contains("\"llama.block_count\" is missing") == true)
        var second = SampleModel().builder()
        second.tensors.removeFirst()
        #expect(failure { try index(second) }?.message.contains("token_embd.weight is missing") == true)
        var third = SampleModel().builder()
        third.tensors.removeAll { $0.name.hasPrefix("blk.2.") }
        #expect(failure { try index(third) }?.message.contains("layer 2 of 4 has no tensors") == true)
    }

    @Test(
        "tensors of layers that the model does not have are refused",
        arguments: ["blk.4.x", "blk.-1.x", "blk.01.x", "blk.x"])
    func strayBlocks(name: String) {
        var gguf = SampleModel().builder()
        gguf.addTensor(name, [1])
        #expect(failure { try index(gguf) }?.message.contains("does not belong to one of 4 layers") == true)
    }

    @Test("an array that does not have one value per layer is refused")
    func arrayLength() {
        var gguf = SampleModel(family: "mamba").builder()
        gguf.add("x", 1)
        let sample = SampleModel(
            family: "gemma3",
            extraKeys: {
                $0.add("gemma3.attention.sliding_window", 4)
                $0.add("gemma3.attention.sliding_window_pattern", int32s: [1, 0, 1])
            })
        #expect(failure { try sample.index() }?.message.contains("holds 3 values, but the model has 4 layers") == true)
    }

    @Test("extra prediction layers are refused: the engine has no place for them")
    func nextTokenLayers() {
        let sample = SampleModel(extraKeys: { $0.add("llama.nextn_predict_layers", 1) })
        #expect(failure { try sample.index() }?.code == .unsupportedFamily)
    }

    // MARK: Split files

    @Test("three files are one model, and extents name the file they lie in")
    func split() throws {
        let files = splitFiles()
        let headers = try files.enumerated().map { try GGUFHeader.read($1, fileName: "m\($0).gguf") }
        let split = try ModelIndex(headers: headers)
        let whole = try SampleModel(layers: 3).index()
        #expect(Set(split.tensors.map(\.name)) == Set(whole.tensors.map(\.name)))
        var shape = split.shape
        #expect(shape.headerBytes > whole.shape.headerBytes)
        shape.headerBytes = whole.shape.headerBytes
        #expect(shape == whole.shape)
        let layout = try split.stageLayout(#require(LayerRange(first: 1, end: 3)))
        #expect(Set(layout.extents.compactMap(\.fileIndex)) == [0, 1, 2])
        let stage = try GGUFHeader.read(materialized(layout, files: files), fileName: "stage")
        #expect(stage.keys.contains { $0.name.hasPrefix("split.") } == false)
    }

    @Test("a missing, doubled or renamed file of a split model is noticed")
    func splitDamage() throws {
        let headers = try splitFiles().enumerated().map { try GGUFHeader.read($1, fileName: "m\($0).gguf") }
        let one = failure { try ModelIndex(headers: [headers[0]]) }
        #expect(one?.message.contains("belongs to a model of 3 files, but 1 were found") == true)
        let swapped = failure { try ModelIndex(headers: [headers[0], headers[2], headers[1]]) }
        #expect(swapped?.message.contains("was it renamed") == true)
    }

    @Test("the names of split files are understood, others are not")
    func splitNames() {
        let name = SplitFileName("big-model-00002-of-00003.gguf")
        #expect(name?.prefix == "big-model")
        #expect(name?.number == 2)
        #expect(
            name?.all == [
                "big-model-00001-of-00003.gguf", "big-model-00002-of-00003.gguf", "big-model-00003-of-00003.gguf",
            ])
        for other in [
            "m.gguf", "m-1-of-3.gguf", "m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-00001-of-00003",
            "00001-of-00003.gguf",
        ] {
            #expect(SplitFileName(other) == nil, "\(other)")
        }
    }

    private func splitFiles() -> [MemoryBytes] {
        let whole = SampleModel(layers: 3).builder()
        let parts = [whole.tensors[0..<4], whole.tensors[4..<7], whole.tensors[7...]]
        return parts.enumerated().map { number, tensors in
            var gguf = number == 0 ? whole : GGUFBuilder()
            gguf.add("split.no", uint16: UInt16(number))
            gguf.add("split.count", uint16: 3)
            gguf.add("split.tensors.count", UInt32(whole.tensors.count))
            gguf.tensors = Array(tensors)
            return MemoryBytes(gguf.file())
        }
    }

    private func index(_ gguf: GGUFBuilder) throws(ShoalError) -> ModelIndex {
        try ModelIndex.read(MemoryBytes(gguf.file()), fileName: "m.gguf")
    }

    private func failure(_ body: () throws -> ModelIndex) -> ShoalError? {
        do {
            _ = try body()
            return nil
        } catch { return error as? ShoalError }
    }
}
