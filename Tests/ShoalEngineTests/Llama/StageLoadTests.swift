import Foundation
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalModel
import ShoalStore
import ShoalWire
import Testing

@Suite("Loading a stage in a real engine", .serialized)
struct StageLoadTests {
    @Test("a middle stage reads and holds its own tensors only")
    func middleStageReadsItsShare() async throws {
        let model = try TestModel.reference.require()
        let index = try StoredModel.open(path: model.path).index
        let whole = try await TestPipeline.start(model, loader: .ordinary)
        let split = try await TestPipeline.start(model, cutAt: [10, 20])
        let middle = split.loaded[1]
        let layout = try index.stageLayout(middle.layers)
        let tensors = layout.extents.reduce(0) { $0 + $1.byteCount }
        let headers = index.headers.reduce(0) { $0 + $1.bytes.count }
        // A seek may cost a byte of a neighbour.
        #expect(middle.bytesReadFromDisk.rawValue <= tensors + headers + 4 * layout.extents.count)
        #expect(middle.bytesReadFromDisk.rawValue * 3 < whole.loaded[0].bytesReadFromDisk.rawValue)
        #expect(middle.weightBytes.rawValue == tensors)
        // Both processes carry the same program; what differs is the weights and the caches.
        let saved = whole.loaded[0].weightBytes.minus(middle.weightBytes)
        #expect(middle.residentBytes.rawValue < whole.loaded[0].residentBytes.rawValue - saved.rawValue / 2)
        #expect(middle.kvCacheBytes.rawValue * 3 == whole.loaded[0].kvCacheBytes.rawValue)
    }

    @Test("loading says what it loaded and reports progress up to the end")
    func loadedAndProgress() async throws {
        let pipeline = try await TestPipeline.start(.family("llama"), cutAt: [2])
        let first = pipeline.loaded[0]
        #expect(first.family == "llama")
        #expect(first.layers == LayerRange(first: 0, end: 2))
        #expect(!first.isLast && pipeline.loaded[1].isLast)
        #expect(first.vocabularyTokenCount == pipeline.loaded[1].vocabularyTokenCount)
        let progress = await pipeline.head.progress
        #expect(progress.last == 1)
        #expect(progress == progress.sorted() && progress.count <= 101)
        let build = await pipeline.head.build
        #expect(build?.shoalVersion == ShoalVersion.current)
        #expect(build?.llamaBuild.isEmpty == false)
    }

    /// A file that no engine can load, and a part of the sentence that says so.
    struct Damage: Sendable, CustomTestStringConvertible {
        var name: String
        var code: ShoalError.Code
        var bytes: @Sendable ([UInt8]) -> [UInt8]

        var testDescription: String { name }
    }

    private static let damages = [
        Damage(name: "an empty file", code: .malformedModel) { _ in [] },
        Damage(name: "a text", code: .malformedModel) { _ in Array("this is no model, only a text of some length".utf8)
        },
        Damage(name: "a header that ends early", code: .malformedModel) { Array($0.prefix(1000)) },
        Damage(name: "data that end early", code: .malformedModel) { Array($0.dropLast(100_000)) },
        Damage(name: "a tensor count beyond all reason", code: .malformedModel) { bytes in
            bytes.prefix(8) + [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F] + bytes.dropFirst(16)
        },
    ]

    @Test("a damaged file is refused, and the engine lives on", arguments: damages)
    func damagedFile(_ damage: Damage) async throws {
        let good = try TestModel.family("llama").require()
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("shoal-\(UUID().uuidString).gguf").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        let bytes = damage.bytes([UInt8](try Data(contentsOf: URL(fileURLWithPath: good.path))))
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        let engine = try await EngineUnderTest.start()
        let layers = try #require(LayerRange(first: 0, end: 3))
        let error = await #expect(throws: ShoalError.self) {
            try await engine.load(StageLoadRequest(path: path, layers: layers))
        }
        #expect(error?.code == damage.code)
        #expect(error?.message.contains(path) == true, "\(error?.message ?? "")")
        let loaded = try await engine.load(StageLoadRequest(path: good.path, layers: layers))
        #expect(loaded.family == "llama")
    }

    @Test("what cannot be loaded is refused with the reason, and the engine lives on")
    func refusals() async throws {
        let good = try TestModel.family("llama").require()
        let engine = try await EngineUnderTest.start()
        let half = try #require(LayerRange(first: 0, end: 3))
        let beyond = try #require(LayerRange(first: 3, end: 7))
        var request = StageLoadRequest(path: "/nowhere/model.gguf", layers: half)
        try await refuses(engine, request, .fileUnreadable)
        request.path = FileManager.default.temporaryDirectory.path
        try await refuses(engine, request, .fileUnreadable)
        request.path = try TestModel.family("gpt2-unsupported").require().path
        try await refuses(engine, request, .unsupportedFamily)
        request.path = good.path
        request.layers = beyond
        try await refuses(engine, request, .invalidPlacement)
        request.layers = half
        request.loader = .ordinary
        try await refuses(engine, request, .invalidPlacement)
        request.loader = .stage
        request.sequenceCountMax = 0
        try await refuses(engine, request, .invalidRequest)
        request.sequenceCountMax = 1
        request.threadCount = -1
        try await refuses(engine, request, .invalidRequest)
        request.threadCount = 1
        #expect(try await engine.load(request).layers == half)
        try await refuses(engine, request, .invalidRequest)
    }

    private func refuses(
        _ engine: EngineUnderTest, _ request: StageLoadRequest, _ code: ShoalError.Code
    ) async throws {
        let error = await #expect(throws: ShoalError.self) { try await engine.load(request) }
        #expect(error?.code == code, "\(error?.message ?? "")")
    }

    @Test("a micro-batch before a load is refused")
    func microBatchBeforeLoad() async throws {
        let engine = try await EngineUnderTest.start()
        let batch = MicroBatch(number: 1, entries: [])
        let frame = try MicroBatchDescription(batch: batch, activations: nil)
            .frame(instance: InstanceID(rawValue: 1), generation: 1)
        let error = await #expect(throws: ShoalError.self) { try await engine.compute(frame) }
        #expect(error?.code == .unavailable)
    }
}
