import NIOCore
import ShoalCore
import ShoalEngine
import ShoalWire

/// The stages of one model as processes, and what a head does with them, without links.
actor TestPipeline {
    /// What came out of the last stage.
    struct Outputs: Sendable {
        var tokens: [SampledToken]
        /// One row per token.
        var logits: [[Float]]
        /// The `microBatch` frames between the stages.
        var boundaries: [Frame]
    }

    let engines: [EngineUnderTest]
    let loaded: [StageLoaded]
    private var nextNumber: UInt64 = 1

    /// Every stage on its own process, with one thread, small contexts, and text in the last.
    static func start(
        _ model: TestModel, cutAt cuts: [Int] = [], loader: StageLoadRequest.Loader = .stage,
        configure: @Sendable (inout StageLoadRequest) -> Void = { _ in }
    ) async throws -> TestPipeline {
        let model = try model.require()
        var engines: [EngineUnderTest] = []
        var loaded: [StageLoaded] = []
        for layers in try model.stages(cutAt: cuts) {
            var request = StageLoadRequest(path: model.path, layers: layers)
            request.loader = loader
            request.servesText = layers.end == model.layerCount
            request.contextTokenCount = 128
            request.sequenceCountMax = 4
            request.microBatchTokenCountMax = 64
            configure(&request)
            let engine = try await EngineUnderTest.start()
            loaded.append(try await engine.load(request))
            engines.append(engine)
        }
        return TestPipeline(engines: engines, loaded: loaded)
    }

    private init(engines: [EngineUnderTest], loaded: [StageLoaded]) {
        self.engines = engines
        self.loaded = loaded
    }

    /// The engine that samples and serves text.
    nonisolated var head: EngineUnderTest { engines[engines.count - 1] }

    /// Sends a micro-batch through all stages.
    func run(
        _ entries: [BatchEntry], kvOperations: [KVOperation] = [], wantsLogits: Bool = true
    ) async throws -> Outputs {
        let batch = MicroBatch(number: nextNumber, kvOperations: kvOperations, entries: entries)
        nextNumber += 1
        var frame = try MicroBatchDescription(batch: batch, activations: nil)
            .frame(flags: wantsLogits ? .wantsLogits : [], instance: InstanceID(rawValue: 7), generation: 3)
        var boundaries: [Frame] = []
        for engine in engines {
            frame = try await engine.compute(frame)
            if frame.kind == .microBatch { boundaries.append(frame) }
        }
        let outputs = try OutputsDescription(decoding: frame)
        return Outputs(tokens: outputs.tokens, logits: Self.rows(of: outputs, frame.payload), boundaries: boundaries)
    }

    /// Feeds a prompt and generates until the model ends the answer or `tokenCountMax` tokens came.
    func generate(
        from prompt: [TokenID], sequence: Int32 = 0, tokenCountMax: Int, chunkTokenCount: Int = 64
    ) async throws -> [SampledToken] {
        var position: Int32 = 0
        var last: SampledToken?
        for start in stride(from: 0, to: prompt.count, by: chunkTokenCount) {
            let chunk = prompt[start..<min(prompt.count, start + chunkTokenCount)]
            var entries = Self.entries(Array(chunk), sequence: sequence, from: position, wantsOutput: false)
            if start + chunk.count == prompt.count { entries[entries.count - 1].wantsOutput = true }
            last = try await run(entries, wantsLogits: false).tokens.last
            position += Int32(chunk.count)
        }
        var answer: [SampledToken] = []
        while let token = last, !token.isEndOfGeneration {
            answer.append(token)
            guard answer.count < tokenCountMax else { break }
            last = try await run(
                Self.entries([token.token], sequence: sequence, from: position), wantsLogits: false
            ).tokens.last
            position += 1
        }
        return answer
    }

    static func entries(
        _ tokens: [TokenID], sequence: Int32 = 0, from position: Int32, wantsOutput: Bool = true
    ) -> [BatchEntry] {
        tokens.enumerated().map { index, token in
            BatchEntry(
                sequence: SequenceID(rawValue: sequence), position: position + Int32(index), token: token,
                wantsOutput: wantsOutput)
        }
    }

    private static func rows(of outputs: OutputsDescription, _ payload: ByteBuffer) -> [[Float]] {
        guard let logits = outputs.logits else { return [] }
        let rowByteCount = Int(logits.width) * MemoryLayout<Float>.stride
        return (0..<Int(logits.rowCount)).map { row in
            payload.withUnsafeReadableBytes { bytes in
                let slice = bytes[row * rowByteCount..<(row + 1) * rowByteCount]
                return [Float](unsafeUninitializedCapacity: Int(logits.width)) { buffer, count in
                    UnsafeMutableRawBufferPointer(buffer).copyMemory(from: UnsafeRawBufferPointer(rebasing: slice))
                    count = Int(logits.width)
                }
            }
        }
    }
}

extension Sequence<SampledToken> {
    /// The answer's text.
    var text: String { String(decoding: flatMap(\.piece), as: UTF8.self) }
}
