import Foundation
import NIOCore
import ShoalCore
import ShoalRPC
import Testing

@testable import ShoalTunnel

@Suite("The cache of pieces")
struct PieceCacheTests {
    @Test("a piece that was kept comes back, also for the next process")
    func keepAndRead() throws {
        let folder = try TestFolder()
        let path = folder.url.appending(path: "a/b/cache").path
        let cache = try PieceCache(folder: path, byteCountMax: 1 << 20)
        let (bytes, digest) = piece(1)
        #expect(cache.read(digest, byteCount: 1000) == nil)
        cache.keep(bytes, as: digest)
        #expect(cache.read(digest, byteCount: 1000) == bytes)
        #expect(cache.read(digest, byteCount: 999) == nil)
        let next = try PieceCache(folder: path, byteCountMax: 1 << 20)
        #expect(next.byteCount == 1000)
        #expect(next.read(digest, byteCount: 1000) == bytes)
    }

    @Test("the least recently used pieces go when it is full")
    func eviction() throws {
        let folder = try TestFolder()
        let cache = try PieceCache(folder: folder.url.path, byteCountMax: 10_000)
        for number in 0..<10 as Range<UInt8> { cache.keep(piece(number).bytes, as: piece(number).digest) }
        #expect(cache.byteCount == 10_000)
        #expect(cache.read(piece(0).digest, byteCount: 1000) != nil)
        cache.keep(piece(10).bytes, as: piece(10).digest)
        #expect(cache.byteCount <= 10_000)
        #expect(cache.read(piece(0).digest, byteCount: 1000) != nil)
        #expect(cache.read(piece(10).digest, byteCount: 1000) != nil)
        #expect(cache.read(piece(1).digest, byteCount: 1000) == nil)
        #expect(try files(in: folder.url).count * 1000 == cache.byteCount)
    }

    @Test("a smaller cache than before keeps what fits")
    func shrinks() throws {
        let folder = try TestFolder()
        let cache = try PieceCache(folder: folder.url.path, byteCountMax: 10_000)
        for number in 0..<10 as Range<UInt8> { cache.keep(piece(number).bytes, as: piece(number).digest) }
        #expect(try PieceCache(folder: folder.url.path, byteCountMax: 3000).byteCount <= 3000)
        #expect(try files(in: folder.url).count <= 3)
    }

    @Test("a file that was changed is found out and deleted")
    func corruption() throws {
        let folder = try TestFolder()
        let cache = try PieceCache(folder: folder.url.path, byteCountMax: 10_000)
        let (bytes, digest) = piece(3)
        cache.keep(bytes, as: digest)
        let file = try #require(try files(in: folder.url).first)
        var content = try Data(contentsOf: file)
        content[500] ^= 1
        try content.write(to: file)
        #expect(cache.read(digest, byteCount: 1000) == nil)
        #expect(try files(in: folder.url).isEmpty)
        #expect(cache.byteCount == 0)
        cache.keep(bytes, as: digest)
        #expect(cache.read(digest, byteCount: 1000) == bytes)
    }

    @Test("what an earlier process left half written is deleted, and what is not ours is left alone")
    func leftovers() throws {
        let folder = try TestFolder()
        let part = folder.url.appending(path: "ab")
        try FileManager.default.createDirectory(at: part, withIntermediateDirectories: true)
        try Data([1]).write(to: part.appending(path: "ab12.part"))
        try Data([1]).write(to: part.appending(path: "notes.txt"))
        let cache = try PieceCache(folder: folder.url.path, byteCountMax: 10_000)
        #expect(cache.byteCount == 0)
        #expect(try files(in: folder.url).map(\.lastPathComponent) == ["notes.txt"])
    }

    @Test("a folder that cannot be is refused with its name")
    func impossibleFolder() throws {
        let folder = try TestFolder()
        let file = folder.url.appending(path: "file")
        try Data().write(to: file)
        let error = #expect(throws: ShoalError.self) {
            try PieceCache(folder: file.appending(path: "cache").path, byteCountMax: 1)
        }
        #expect(error?.message.contains(file.path) == true)
    }

    @Test("a cache that cannot write says so and goes on")
    func cannotWrite() throws {
        let folder = try TestFolder()
        let cache = try PieceCache(folder: folder.url.path, byteCountMax: 10_000)
        let (bytes, digest) = piece(5)
        try Data().write(to: folder.url.appending(path: String(digest.description.prefix(2))))
        cache.keep(bytes, as: digest)
        #expect(cache.writeFailure != nil)
        #expect(cache.byteCount == 0)
        #expect(cache.read(digest, byteCount: 1000) == nil)
    }

    private func piece(_ number: UInt8) -> (bytes: ByteBuffer, digest: ContentDigest) {
        let bytes = ByteBuffer(repeating: number, count: 1000)
        return (bytes, ContentDigest(of: bytes))
    }

    private func files(in folder: URL) throws -> [URL] {
        try FileManager.default.subpathsOfDirectory(atPath: folder.path).map { folder.appending(path: $0) }
            .filter {
                !$0.hasDirectoryPath && (try? $0.resourceValues(forKeys: [.isDirectoryKey]))?.isDirectory != true
            }
    }
}
