import Foundation
import NIOCore
import ShoalCore
import ShoalEngine
import ShoalModel
import ShoalStore
import ShoalWire
import Testing

@Suite("What travels between stages", .serialized)
struct WireFormatTests {
    private static let tokens = (5..<20).map(TokenID.init(rawValue:))

    /// Bytes of a block of 32 values.
    private static let formats: [(format: BoundaryFormat, byteCount: Int, error: Float)] = [
        (.f16, 64, 0.02), (.q8, 34, 0.2),
    ]

    @Test("fewer bytes travel when asked for, and logits stay close", arguments: formats)
    func fewerBytes(format: BoundaryFormat, byteCount: Int, error: Float) async throws {
        let exact = try await TestPipeline.start(.family("llama"), cutAt: [3])
        let short = try await TestPipeline.start(.family("llama"), cutAt: [3]) { $0.boundaryFormat = format }
        let entries = TestPipeline.entries(Self.tokens, from: 0)
        let expected = try await exact.run(entries)
        let actual = try await short.run(entries)
        let whole = expected.boundaries[0].payload.readableBytes
        #expect(actual.boundaries[0].payload.readableBytes * 128 == whole * byteCount)
        let difference = largestDifference(expected.logits, actual.logits)
        let magnitude = expected.logits.joined().reduce(0) { max($0, abs($1)) }
        #expect(difference > 0 && difference < magnitude * error, "\(difference) of \(magnitude)")
    }

    @Test(
        "the real model nearly always chooses the same next token, whatever travels",
        arguments: [(BoundaryFormat.f16, 0.97), (.q8, 0.85)])
    func sameChoices(format: BoundaryFormat, share: Double) async throws {
        let exact = try await TestPipeline.start(.reference, cutAt: [10, 20])
        let short = try await TestPipeline.start(.reference, cutAt: [10, 20]) { $0.boundaryFormat = format }
        let text = """
            Paris is the capital of France. The city lies on the river Seine and is known for its museums, its food
            and the Eiffel Tower, which was built for the world's fair of 1889.
            """
        let prompt = try await exact.head.tokens(of: text)
        let entries = TestPipeline.entries(Array(prompt.prefix(60)), from: 0)
        let expected = try await exact.run(entries, wantsLogits: false).tokens.map(\.token)
        let actual = try await short.run(entries, wantsLogits: false).tokens.map(\.token)
        let sameCount = zip(expected, actual).count { $0 == $1 }
        #expect(expected.count > 30)
        #expect(Double(sameCount) >= share * Double(expected.count), "\(sameCount) of \(expected.count)")
    }

    @Test("a micro-batch with a value that half precision cannot hold travels as it is, and others do not")
    func overflow() async throws {
        let large = try Self.modelWithLargeValues(ofToken: 7)
        defer { try? FileManager.default.removeItem(atPath: large.path) }
        let exact = try await TestPipeline.start(large, cutAt: [3])
        let halved = try await TestPipeline.start(large, cutAt: [3]) { $0.boundaryFormat = .f16 }
        for (tokens, isHalved) in [([5, 6], true), ([5, 7], false), ([8], true)] as [([Int32], Bool)] {
            let entries = TestPipeline.entries(tokens.map(TokenID.init(rawValue:)), from: 0)
            let clear = [KVOperation.clear]
            let expected = try await exact.run(entries, kvOperations: clear)
            let actual = try await halved.run(entries, kvOperations: clear)
            let type = try MicroBatchDescription(decoding: actual.boundaries[0]).activations?.elementType
            #expect(type == (isHalved ? .float16 : .float32), "tokens \(tokens)")
            #expect((largestDifference(expected.logits, actual.logits) == 0) == !isHalved, "tokens \(tokens)")
        }
    }

    /// A copy of a small model whose embedding of one token begins with 127000, twice what half precision can hold.
    private static func modelWithLargeValues(ofToken token: Int) throws -> TestModel {
        var model = try TestModel.family("llama").require()
        let embedding = try StoredModel.open(path: model.path).index.embedding
        var bytes = try Data(contentsOf: URL(fileURLWithPath: model.path))
        // Q8_0: rows of blocks, each a float16 scale and 32 signed bytes. 0x63D0 is 1000.
        let row = embedding.fileOffset + token * (embedding.byteCount / embedding.dimensions[1])
        bytes[row] = 0xD0
        bytes[row + 1] = 0x63
        bytes[row + 2] = 127
        model.path =
            FileManager.default.temporaryDirectory.appendingPathComponent("shoal-\(UUID().uuidString).gguf").path
        try bytes.write(to: URL(fileURLWithPath: model.path))
        return model
    }
}
