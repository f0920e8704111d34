import ShoalCore
import ShoalModel
import Testing

@Suite("GGUF header")
struct GGUFHeaderTests {
    @Test("keys and tensors are read with their places")
    func reads() throws {
        let gguf = SampleModel().builder()
        let header = try read(gguf.file())
        #expect(header.version == 3)
        #expect(try header.string("general.architecture") == "llama")
        #expect(try header.integer("llama.block_count", max: 100) == 4)
        #expect(try header.integer("absent", max: 1) == nil)
        #expect(header.key("tokenizer.ggml.tokens")?.elementCount == 10)
        #expect(header.tensors.map(\.name) == gguf.tensors.map(\.name))
        #expect(header.tensors[0].byteCount == 10 * 34)
        #expect(header.tensors[0].fileOffset == gguf.header().count)
        #expect(header.bytes == gguf.header())
    }

    @Test("version 2 is read too")
    func version2() throws {
        var gguf = SampleModel().builder()
        gguf.version = 2
        #expect(try read(gguf.file()).tensors.count == gguf.tensors.count)
    }

    @Test("a header longer than one piece is read in pieces, and not far past its end")
    func pieces() throws {
        var gguf = SampleModel().builder()
        gguf.add("tokenizer.ggml.merges", strings: (0..<40_000).map { "merge \($0)" })
        let source = CountingBytes(MemoryBytes(gguf.file() + [UInt8](repeating: 0, count: 8 << 20)))
        let header = try GGUFHeader.read(source, fileName: "m.gguf")
        #expect(header.key("tokenizer.ggml.merges")?.elementCount == 40_000)
        #expect(source.furthestByte <= 2 * gguf.header().count + GGUFLimits.readByteCountMin)
    }

    @Test("a file cut anywhere is refused with a sentence, never a trap")
    func everyTruncation() throws {
        let file = SampleModel(layers: 2).builder().file()
        let padding = 12  // behind the last tensor, which has 5 floats
        for count in 0..<(file.count - padding) {
            let error = try #require(failure(Array(file[..<count])), "cut at \(count)")
            #expect(error.code == .malformedModel)
            #expect(error.message.hasPrefix("m.gguf: "))
            #expect(error.message.contains("byte") || count == 0)
        }
        #expect(failure(file) == nil)
    }

    @Test("any single byte of a header may be wrong without a trap", arguments: [UInt8(0), 1, 0x7F, 0x80, 0xFF])
    func everyByteDamaged(value: UInt8) {
        let gguf = SampleModel(layers: 2).builder()
        let file = gguf.file()
        for offset in gguf.header().indices {
            var damaged = file
            damaged[offset] = value
            if offset < 4 { #expect(failure(damaged) != nil) }
            guard let header = try? read(damaged), let index = try? ModelIndex(headers: [header]) else { continue }
            for range in stages(index.layerCount, cuts: index.shape.legalCuts) { _ = try? index.stageLayout(range) }
        }
    }

    @Test("an empty file and another kind of file are named as such")
    func notGGUF() {
        #expect(failure([])?.message == "m.gguf: the file is empty")
        #expect(failure(Array("PK\u{3}\u{4}....".utf8))?.message.contains("not a GGUF file") == true)
    }

    @Test("big-endian files and unknown versions are refused")
    func versions() {
        var gguf = SampleModel().builder()
        gguf.version = 0x0300_0000
        #expect(failure(gguf.file())?.message.contains("big-endian") == true)
        gguf.version = 4
        #expect(failure(gguf.file())?.message.contains("version 4 is not supported") == true)
        gguf.version = 1
        #expect(failure(gguf.file())?.message.contains("version 1 is not supported") == true)
    }

    @Test("claims beyond the limits are refused before anything is allocated")
    func claims() {
        var gguf = SampleModel().builder()
        gguf.tensorCount = .max
        #expect(failure(gguf.file())?.message.contains("tensors; the limit is") == true)
        gguf.tensorCount = nil
        gguf.keyCount = 1 << 40
        #expect(failure(gguf.file())?.message.contains("keys; the limit is") == true)
        gguf.keyCount = nil
        gguf.add("huge", raw: GGUFBuilder.little(UInt32(8)) + GGUFBuilder.little(UInt64.max), type: 9)
        #expect(failure(gguf.file())?.message.contains("elements; the limit is") == true)
        gguf = SampleModel().builder()
        gguf.add("long", raw: GGUFBuilder.little(UInt64(1) << 60), type: 8)
        #expect(failure(gguf.file())?.message.contains("bytes of text; the limit is") == true)
    }

    @Test("doubled keys, doubled tensors, empty names, nested arrays and unknown types are refused")
    func structure() {
        #expect(failure { $0.add("general.name", "again") }?.message.contains("is there twice") == true)
        #expect(failure { $0.addTensor("output.weight", [32]) }?.message.contains("is there twice") == true)
        #expect(failure { $0.add("", 1) }?.message.contains("empty name") == true)
        let nested = GGUFBuilder.little(UInt32(9)) + GGUFBuilder.little(UInt64(1))
        #expect(failure { $0.add("nested", raw: nested, type: 9) }?.message.contains("array of arrays") == true)
        #expect(failure { $0.add("odd", raw: [0], type: 13) }?.message.contains("unknown type 13") == true)
    }

    @Test("an alignment that is not a power of two is refused", arguments: [UInt32(0), 3, 48, 1 << 31])
    func alignment(value: UInt32) {
        #expect(failure { $0.add("general.alignment", value) }?.message.contains("not a power of two") == true)
    }

    @Test("impossible tensors are refused with their name")
    func tensors() {
        typealias Tensor = GGUFBuilder.Tensor
        let cases: [(Tensor, String)] = [
            (Tensor(name: "x", dimensions: [32], type: 99, byteCount: 128), "element type 99"),
            (Tensor(name: "x", dimensions: [32], type: 4, byteCount: 128), "element type 4"),
            (Tensor(name: "x", dimensions: [], byteCount: 0), "has 0 dimensions"),
            (Tensor(name: "x", dimensions: [1, 1, 1, 1, 1], byteCount: 4), "has 5 dimensions"),
            (Tensor(name: "x", dimensions: [0], byteCount: 0), "zero or too large"),
            (Tensor(name: "x", dimensions: [-1], byteCount: 0), "zero or too large"),
            (Tensor(name: "x", dimensions: [33], type: 2, byteCount: 18), "cannot have the shape 33"),
            (Tensor(name: "x", dimensions: [1 << 40, 1 << 40], byteCount: 0), "cannot have the shape"),
            (Tensor(name: "x", dimensions: [32], byteCount: 128, claimedOffset: 8), "belongs at"),
            (Tensor(name: String(repeating: "x", count: 64), dimensions: [1], byteCount: 4), "the limit is 63"),
        ]
        for (tensor, expected) in cases {
            let error = failure { $0.tensors.append(tensor) }
            #expect(error?.message.contains(expected) == true, "\(expected): \(error?.message ?? "accepted")")
        }
    }

    @Test("tensor data beyond the end of the file names the tensor and asks for a new copy")
    func dataBeyondEnd() throws {
        let file = SampleModel().builder().file()
        let error = try #require(failure(Array(file.dropLast(13))))
        #expect(error.message.contains("inside the data of tensor \"rope_freqs.weight\""))
        #expect(error.message.contains("copy or download it again"))
    }

    @Test("a value of another type is refused when it is asked for")
    func wrongTypes() throws {
        let header = try read(SampleModel().builder().file())
        #expect(throws: ShoalError.self) { try header.string("llama.block_count") }
        #expect(throws: ShoalError.self) { try header.integer("general.name", max: 10) }
        #expect(throws: ShoalError.self) { try header.integer("llama.context_length", max: 2047) }
    }

    // MARK: Helpers

    private func read(_ bytes: [UInt8]) throws(ShoalError) -> GGUFHeader {
        try GGUFHeader.read(MemoryBytes(bytes), fileName: "m.gguf")
    }

    private func failure(_ bytes: [UInt8]) -> ShoalError? {
        do {
            _ = try read(bytes)
            return nil
        } catch { return error }
    }

    private func failure(_ change: (inout GGUFBuilder) -> Void) -> ShoalError? {
        var gguf = SampleModel().builder()
        change(&gguf)
        return failure(gguf.file())
    }
}

/// Remembers how far it was read.
private final class CountingBytes: RandomAccessBytes {
    private let source: MemoryBytes
    // Safety: the test reads and writes it on one thread.
    nonisolated(unsafe) private(set) var furthestByte = 0

    init(_ source: MemoryBytes) { self.source = source }

    var byteCount: Int { source.byteCount }

    func read(offset: Int, count: Int) throws(ShoalError) -> [UInt8] {
        furthestByte = max(furthestByte, offset + count)
        return try source.read(offset: offset, count: count)
    }
}
