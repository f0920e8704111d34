import ShoalCore
import ShoalModel
import ShoalStore
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#else
    #error("this platform's C library is not known")
#endif

@Suite("Stored models")
struct StoredModelTests {
    @Test("a missing file, a folder and a device are named as such")
    func unreadable() throws {
        try withFolder { folder in
            #expect(
                failure { try FileBytes(path: folder + "/none.gguf") }
                    == "\(folder)/none.gguf: No such file or directory")
            #expect(failure { try FileBytes(path: folder) } == "\(folder) is a folder; name the GGUF file in it")
            #expect(failure { try FileBytes(path: "/dev/null") } == "/dev/null is not a regular file")
        }
    }

    @Test("an empty file is refused as a model")
    func empty() throws {
        try withFolder { folder in
            try write([], to: folder + "/m.gguf")
            #expect(failure { try StoredModel.open(path: folder + "/m.gguf") } == "\(folder)/m.gguf: the file is empty")
        }
    }

    @Test("bytes are read anywhere, and not past the end, even if the file became shorter")
    func reads() throws {
        try withFolder { folder in
            let path = folder + "/f"
            try write(Array(0..<100), to: path)
            let file = try FileBytes(path: path)
            #expect(file.byteCount == 100)
            #expect(try file.read(offset: 98, count: 2) == [98, 99])
            #expect(try file.read(offset: 100, count: 0) == [])
            #expect(failure { try file.read(offset: 99, count: 2) }?.contains("ends at byte 100") == true)
            #expect(failure { try file.read(offset: -1, count: 1) } != nil)
            #expect(failure { try file.read(offset: 0, count: .max) } != nil)
            #expect(truncate(path, 50) == 0)
            #expect(failure { try file.read(offset: 40, count: 20) }?.contains("became shorter") == true)
        }
    }

    @Test("a split model opens by the name of any of its files; a missing one is named")
    func split() throws {
        try withFolder { folder in
            let paths = (1...2).map { "\(folder)/m-0000\($0)-of-00002.gguf" }
            for (number, path) in paths.enumerated() { try write(modelFile(part: number), to: path) }
            let model = try StoredModel.open(path: paths[1])
            #expect(model.path == paths[0])
            #expect(model.index.tensors.map(\.fileIndex) == [0, 0, 1])
            #expect(unlink(paths[1]) == 0)
            let message = failure { try StoredModel.open(path: paths[0]) }
            #expect(message == "\(paths[1]): No such file or directory")
        }
    }

    @Test("models are found by name, with or without .gguf, in folders inside folders")
    func lookup() throws {
        try withFolder { folder in
            #expect(mkdir(folder + "/inner", 0o700) == 0)
            try write(modelFile(), to: folder + "/plain.gguf")
            try write(modelFile(), to: folder + "/inner/deep.gguf")
            for number in 0...1 {
                try write(modelFile(part: number), to: "\(folder)/cut-0000\(number + 1)-of-00002.gguf")
            }
            try write([1], to: folder + "/notes.txt")
            let folders = ModelFolders(paths: [folder + "/absent", folder])
            #expect(folders.models().map(\.name) == ["cut", "deep", "plain"])
            #expect(try folders.path(of: "plain") == folder + "/plain.gguf")
            #expect(try folders.path(of: "deep.gguf") == folder + "/inner/deep.gguf")
            #expect(try folders.path(of: "cut") == folder + "/cut-00001-of-00002.gguf")
            #expect(try folders.path(of: "/any/path.gguf") == "/any/path.gguf")
            let message = failure { try folders.path(of: "other") }
            #expect(message == "no model is named \"other\": \(folder)/absent, \(folder) holds cut, deep, plain")
            #expect(failure { try ModelFolders(paths: []).path(of: "other") }?.contains("no model folder") == true)
        }
    }

    @Test("equal copies have equal fingerprints, under any name; different bytes or sizes do not")
    func fingerprint() throws {
        try withFolder { folder in
            try write(modelFile(), to: folder + "/a.gguf")
            try write(modelFile(), to: folder + "/b.gguf")
            try write(modelFile(fill: 7), to: folder + "/c.gguf")
            try write([0, 1, 2], to: folder + "/broken.gguf")
            let original = try ModelFingerprint(of: StoredModel.open(path: folder + "/a.gguf"))
            #expect(try ModelFingerprint(of: StoredModel.open(path: folder + "/b.gguf")) == original)
            let other = try ModelFingerprint(of: StoredModel.open(path: folder + "/c.gguf"))
            #expect(other.digest != original.digest)
            #expect(original.digest.count == 64)
            let folders = ModelFolders(paths: [folder])
            #expect(other.findCopy(in: folders) == folder + "/c.gguf")
            #expect(original.findCopy(in: folders, likelyPath: folder + "/b.gguf") == folder + "/b.gguf")
            #expect(unlink(folder + "/c.gguf") == 0)
            #expect(other.findCopy(in: folders) == nil)
        }
    }

    // MARK: Helpers

    /// The smallest model that opens; whole, or one of two parts.
    private func modelFile(part: Int? = nil, fill: UInt8 = 0) -> [UInt8] {
        var keys: [[UInt8]] = []
        if part != 1 {
            keys.append(text("general.architecture") + little(UInt32(8)) + text("llama"))
            let numbers = ["context_length": 64, "embedding_length": 32, "block_count": 1, "attention.head_count": 2]
            for (name, value) in numbers.sorted(by: { $0.key < $1.key }) {
                keys.append(text("llama." + name) + little(UInt32(4)) + little(UInt32(value)))
            }
        }
        if let part {
            keys.append(text("split.no") + little(UInt32(2)) + little(UInt16(part)))
            keys.append(text("split.count") + little(UInt32(2)) + little(UInt16(2)))
        }
        let all = ["token_embd.weight", "output_norm.weight", "blk.0.attn_norm.weight"]
        let names = part == nil ? all : part == 0 ? Array(all[..<2]) : Array(all[2...])
        var bytes = Array("GGUF".utf8) + little(UInt32(3)) + little(UInt64(names.count)) + little(UInt64(keys.count))
        bytes += keys.flatMap { $0 }
        for (index, name) in names.enumerated() {
            bytes += text(name) + little(UInt32(2)) + little(UInt64(32)) + little(UInt64(1)) + little(UInt32(0))
            bytes += little(UInt64(index * 128))
        }
        bytes += [UInt8](repeating: 0, count: (32 - bytes.count % 32) % 32)
        return bytes + [UInt8](repeating: fill, count: names.count * 128)
    }

    private func text(_ value: String) -> [UInt8] { little(UInt64(value.utf8.count)) + Array(value.utf8) }

    private func little(_ value: some FixedWidthInteger) -> [UInt8] {
        (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }

    private func failure(_ body: () throws -> some Any) -> String? {
        do {
            _ = try body()
            return nil
        } catch { return "\(error)" }
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let file = try #require(fopen(path, "wb"))
        #expect(fwrite(bytes, 1, bytes.count, file) == bytes.count)
        #expect(fclose(file) == 0)
    }

    /// A folder that is gone afterwards, with the files and the folders of files in it.
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = "/tmp/shoal-store-\(UInt64.random(in: 1 ... .max))"
        #expect(mkdir(folder, 0o700) == 0)
        defer { removeAll(folder) }
        try body(folder)
    }

    private func removeAll(_ path: String) {
        let names = (try? contents(path)) ?? []
        for name in names {
            if unlink("\(path)/\(name)") != 0 { removeAll("\(path)/\(name)") }
        }
        rmdir(path)
    }

    private func contents(_ path: String) throws -> [String] {
        let stream = try #require(opendir(path))
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
