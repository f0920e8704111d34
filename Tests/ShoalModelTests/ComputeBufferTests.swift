import ShoalModel
import Testing

/// Sizes that libllama at the pinned commit really reserved, for the reference model and small generated ones.
@Suite("Compute buffers")
struct ComputeBufferTests {
    private static func load(_ cells: Int, isLast: Bool, layers: Int = 2, vocabulary: Int, sequences: Int = 1)
        -> GraphLoad
    {
        GraphLoad(
            tokenCount: 512, outputCount: isLast ? 64 : 512, sequenceCount: sequences, cellCount: cells,
            vocabularyTokenCount: isLast ? vocabulary : 1, isSlidingLayer: Array(repeating: false, count: layers))
    }

    private static func attention(
        _ width: Int, _ heads: (query: Int, key: Int), _ feedForward: Int,
        _ change: (inout GraphShape) -> Void = { _ in }
    ) -> GraphShape {
        var shape = GraphShape(embeddingWidth: width)
        (shape.queryWidth, shape.keyWidth, shape.valueWidth) = (heads.query, heads.key, heads.key)
        shape.feedForwardWidth = feedForward
        change(&shape)
        return shape
    }

    @Test(
        "SmolLM2: the reserved bytes, stages of any number of layers but one alike",
        arguments: [(512, 14_694_400, 14_692_608), (2048, 16_267_264, 16_265_472), (16384, 30_947_328, 30_945_536)])
    func reference(cells: Int, middle: Int, last: Int) {
        let shape = ComputeBufferTests.attention(576, (576, 192), 1536)
        for layers in [2, 3, 10, 30] {
            let load = ComputeBufferTests.load(cells, isLast: false, layers: layers, vocabulary: 49152)
            #expect(shape.computeByteCount(load) == middle)
            let lastLoad = ComputeBufferTests.load(cells, isLast: true, layers: layers, vocabulary: 49152)
            #expect(shape.computeByteCount(lastLoad) == last)
        }
    }

    @Test("small models of every supported kind")
    func families() {
        let llama = ComputeBufferTests.attention(64, (64, 32), 128)
        let experts = ComputeBufferTests.attention(64, (64, 32), 128) {
            ($0.expertCount, $0.usedExpertCount) = (4, 2)
        }
        let phi3 = ComputeBufferTests.attention(64, (64, 32), 128) {
            ($0.isFusedProjection, $0.gate, $0.scalesQueries, $0.addsResidualFirst) = (true, .fused, true, true)
        }
        let qwen3 = ComputeBufferTests.attention(64, (128, 64), 128) { $0.hasHeadNorms = true }
        let cases: [(String, GraphShape, Int, Int, Int, Int)] = [
            ("llama", llama, 512, 32000, 1_587_200, 8_341_504),
            ("llama", llama, 16384, 32000, 17_840_128, 17_838_336),
            ("experts", experts, 16384, 32000, 18_888_704, 18_886_912),
            ("phi3", phi3, 512, 32064, 1_718_272, 8_357_888),
            ("phi3", phi3, 16384, 32064, 17_971_200, 17_969_408),
            ("qwen3", qwen3, 512, 151936, 1_718_272, 39_045_120),
        ]
        for (name, shape, cells, vocabulary, middle, last) in cases {
            let load = ComputeBufferTests.load(cells, isLast: false, vocabulary: vocabulary)
            #expect(shape.computeByteCount(load) == middle, "\(name)")
            let lastLoad = ComputeBufferTests.load(cells, isLast: true, vocabulary: vocabulary)
            #expect(shape.computeByteCount(lastLoad) == last, "\(name), last")
        }
        // Of six layers, all of them.
        let whole = ComputeBufferTests.load(16384, isLast: true, layers: 6, vocabulary: 32000)
        #expect(llama.computeByteCount(whole) == 17_969_408)
    }

    @Test("recurrent models")
    func recurrent() {
        var shape = GraphShape(embeddingWidth: 64)
        (shape.innerWidth, shape.stateWidth, shape.kernelWidth, shape.stepRank) = (128, 16, 4, 4)
        let first = ComputeBufferTests.load(512, isLast: false, vocabulary: 50432)
        #expect(shape.computeByteCount(first) == 1_717_792)
        let many = ComputeBufferTests.load(512, isLast: false, vocabulary: 50432, sequences: 4)
        #expect(shape.computeByteCount(many) == 1_753_120)
        let last = ComputeBufferTests.load(512, isLast: true, vocabulary: 50432, sequences: 4)
        #expect(shape.computeByteCount(last) == 13_191_456)
    }
}
