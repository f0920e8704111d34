import Foundation
import NIOCore
import ShoalCore
import ShoalModel
import ShoalRPC
import ShoalStore
import ShoalTesting
import Testing

@testable import ShoalTunnel

@Suite("A worker's files")
struct TensorLibraryTests {
    @Test("a piece is found by its place and given out only with its content")
    func contentDecides() throws {
        let folder = try TestFolder()
        let mine = try TinyModelFile(seed: 1).write(to: folder.url.path, name: "mine.gguf")
        let other = try TinyModelFile(seed: 2).write(to: folder.url.path, name: "other.gguf")
        let reference = try Self.reference(to: "blk.3.ffn_up.weight", in: mine)
        #expect(TensorLibrary(paths: [mine]).read(reference)?.readableBytes == reference.span.byteCount)
        #expect(TensorLibrary(paths: [other]).read(reference) == nil)
        #expect(TensorLibrary(paths: [other, mine]).read(reference) != nil)
        #expect(TensorLibrary(paths: []).read(reference) == nil)
    }

    @Test("a file that always disappoints is not read for ever, and one that was right stays")
    func disappointment() throws {
        let folder = try TestFolder()
        let mine = try TinyModelFile(seed: 1).write(to: folder.url.path, name: "mine.gguf")
        let wanted = try TinyModelFile(seed: 2).write(to: folder.url.path, name: "wanted.gguf")
        let library = TensorLibrary(paths: [mine])
        let right = try Self.reference(to: "blk.3.ffn_up.weight", in: mine)
        let wrong = try Self.reference(to: "blk.3.ffn_up.weight", in: wanted)
        #expect(library.read(right) != nil)
        for _ in 0..<20 { #expect(library.read(wrong) == nil) }
        #expect(library.read(right) != nil)
        let hopeless = TensorLibrary(paths: [mine])
        for _ in 0..<20 { #expect(hopeless.read(wrong) == nil) }
        #expect(hopeless.read(right) == nil)
    }

    @Test("a file that was changed after it was opened gives out nothing wrong")
    func changedFile() throws {
        let folder = try TestFolder()
        let path = try TinyModelFile(seed: 1).write(to: folder.url.path)
        let library = TensorLibrary(paths: [path])
        let reference = try Self.reference(to: "blk.3.ffn_up.weight", in: path)
        let file = try FileHandle(forUpdating: URL(filePath: path))
        try file.truncate(atOffset: 100)
        #expect(library.read(reference) == nil)
        try file.close()
    }

    @Test("files that cannot be used are named, and the others are used")
    func failures() throws {
        let folder = try TestFolder()
        let path = try TinyModelFile(seed: 1).write(to: folder.url.path)
        let library = TensorLibrary(paths: [folder.url.appending(path: "no.gguf").path, path])
        #expect(library.failures.count == 1)
        #expect(library.failures[0].message.contains("no.gguf"))
        #expect(library.read(try Self.reference(to: "output.weight", in: path)) != nil)
    }

    /// To the whole of a small tensor, as the head would make it.
    static func reference(to name: String, in path: String) throws -> PieceReference {
        let file = try FileBytes(path: path)
        let tensor = try #require(try GGUFHeader.read(file, fileName: path).tensors.first { $0.name == name })
        let bytes = ByteBuffer(bytes: try file.read(offset: tensor.fileOffset, count: tensor.byteCount))
        return PieceReference(
            digest: ContentDigest(of: bytes),
            span: PieceSpan(
                tensorName: name, type: tensor.type.rawValue, tensorByteCount: UInt64(tensor.byteCount), offset: 0,
                byteCount: tensor.byteCount))
    }
}
