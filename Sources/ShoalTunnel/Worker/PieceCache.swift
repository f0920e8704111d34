internal import NIOCore
package import ShoalCore
internal import ShoalRPC
internal import ShoalStore
internal import Synchronization
internal import SystemPackage

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#elseif canImport(Darwin)
    internal import Darwin
#else
    #error("this platform's C library is not known")
#endif

/// Pieces that were sent to this worker, kept on disk under the hash of their bytes, so that they are sent once.
///
/// Bounded; the least recently used go first. A file is written under another name and renamed when it is whole. What
/// is read is hashed every time, and a file that does not have its hash any more is deleted. One cache serves all
/// tunnels of a node; two processes must not share a folder.
package final class PieceCache: Sendable {
    fileprivate struct Entry {
        var byteCount: Int
        /// Larger is more recent.
        var lastUse: Int
    }

    fileprivate struct State {
        var entries: [ContentDigest: Entry] = [:]
        var byteCount = 0
        var useCount = 0
        var writeFailure: String?
    }

    private static let entryCountMax = 1 << 20
    private static let unfinishedSuffix = ".part"

    package let folder: String
    package let byteCountMax: Int
    private let state: Mutex<State>

    /// Makes the folder if it is missing, takes up what an earlier process kept, and deletes what it left half written.
    /// Blocks. Throws `fileUnreadable` when the folder cannot be made.
    package init(folder: String, byteCountMax: Int) throws(ShoalError) {
        self.folder = folder
        self.byteCountMax = byteCountMax
        try PieceCache.makeFolder(folder)
        state = Mutex(PieceCache.takeUp(folder))
        for digest in state.withLock({ $0.evict(to: byteCountMax) }) { delete(digest) }
    }

    /// Bytes in the cache.
    package var byteCount: Int { state.withLock { $0.byteCount } }

    /// Why pieces cannot be kept, if they cannot: a full disk, permissions.
    package var writeFailure: String? { state.withLock { $0.writeFailure } }

    /// The bytes of a piece, hashed; nil if they are not here. Blocks.
    func read(_ digest: ContentDigest, byteCount: Int) -> ByteBuffer? {
        let isHere = state.withLock { state -> Bool in
            guard state.entries[digest]?.byteCount == byteCount else { return false }
            state.useCount += 1
            state.entries[digest]?.lastUse = state.useCount
            return true
        }
        guard isHere else { return nil }
        let path = path(of: digest)
        guard let bytes = PieceCache.contents(of: path, byteCount: byteCount), ContentDigest(of: bytes) == digest else {
            drop(digest)
            return nil
        }
        // The order of use survives the process; without it the piece is only forgotten earlier.
        _ = utimes(path, nil)
        return bytes
    }

    /// Keeps a piece whose hash the caller has checked. A piece that cannot be kept is not: see `writeFailure`. Blocks.
    func keep(_ bytes: ByteBuffer, as digest: ContentDigest) {
        guard bytes.readableBytes <= byteCountMax else { return }
        guard !state.withLock({ $0.entries[digest] != nil }) else { return }
        do {
            try write(bytes, as: digest)
        } catch {
            return state.withLock { $0.writeFailure = "\(folder): \(error)" }
        }
        let evicted = state.withLock { state -> [ContentDigest] in
            state.writeFailure = nil
            state.useCount += 1
            state.insert(digest, Entry(byteCount: bytes.readableBytes, lastUse: state.useCount))
            return state.evict(to: byteCountMax)
        }
        for digest in evicted { delete(digest) }
    }

    // MARK: Files

    private func path(of digest: ContentDigest) -> String {
        let name = digest.description
        return "\(folder)/\(name.prefix(2))/\(name)"
    }

    private func drop(_ digest: ContentDigest) {
        state.withLock { $0.remove(digest) }
        delete(digest)
    }

    private func delete(_ digest: ContentDigest) { unlink(path(of: digest)) }

    private func write(_ bytes: ByteBuffer, as digest: ContentDigest) throws {
        let path = path(of: digest)
        let unfinished = path + PieceCache.unfinishedSuffix
        try PieceCache.makeFolder(String(path.dropLast(ContentDigest.byteCount * 2 + 1)))
        let file = try FileDescriptor.open(
            FilePath(unfinished), .writeOnly, options: [.create, .truncate, .closeOnExec], permissions: .ownerReadWrite)
        do {
            _ = try file.closeAfter { try bytes.withUnsafeReadableBytes { try file.writeAll($0) } }
            guard rename(unfinished, path) == 0 else { throw Errno(rawValue: errno) }
        } catch {
            unlink(unfinished)
            throw error
        }
    }

    private static func contents(of path: String, byteCount: Int) -> ByteBuffer? {
        guard let file = try? FileBytes(path: path), file.byteCount == byteCount else { return nil }
        var buffer = ByteBuffer()
        // A file that cannot be read is treated as one with other bytes.
        let count = try? buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: byteCount) { memory in
            try file.read(into: UnsafeMutableRawBufferPointer(rebasing: memory[..<byteCount]), offset: 0)
            return byteCount
        }
        return count == byteCount ? buffer : nil
    }

    private static func makeFolder(_ path: String) throws(ShoalError) {
        var parent = ""
        for part in path.split(separator: "/", omittingEmptySubsequences: false) {
            parent += part
            if !parent.isEmpty, mkdir(parent, 0o700) != 0, errno != EEXIST, errno != EISDIR, errno != EROFS {
                throw ShoalError(.fileUnreadable, "\(parent) cannot be made: \(Errno(rawValue: errno))")
            }
            parent += "/"
        }
        guard Directory.isFolder(path) else { throw ShoalError(.fileUnreadable, "\(path) is not a folder") }
    }

    private static func takeUp(_ folder: String) -> State {
        var found: [(digest: ContentDigest, byteCount: Int, modified: Int)] = []
        for part in Directory.entries(of: folder, countMax: 256) where part.utf8.count == 2 {
            for name in Directory.entries(of: "\(folder)/\(part)", countMax: entryCountMax) {
                let path = "\(folder)/\(part)/\(name)"
                var status = stat()
                guard name.hasPrefix(part), lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                    continue
                }
                if let digest = ContentDigest(hexadecimal: name) {
                    found.append((digest, Int(status.st_size), modified(status)))
                } else if name.hasSuffix(unfinishedSuffix) {
                    unlink(path)
                }
            }
        }
        var state = State()
        for item in found.sorted(by: { $0.modified < $1.modified }) {
            state.useCount += 1
            state.insert(item.digest, Entry(byteCount: item.byteCount, lastUse: state.useCount))
        }
        return state
    }

    /// Milliseconds since 1970.
    private static func modified(_ status: stat) -> Int {
        #if canImport(Darwin)
            status.st_mtimespec.tv_sec * 1000 + status.st_mtimespec.tv_nsec / 1_000_000
        #else
            Int(status.st_mtim.tv_sec) * 1000 + Int(status.st_mtim.tv_nsec) / 1_000_000
        #endif
    }
}

extension PieceCache.State {
    fileprivate mutating func insert(_ digest: ContentDigest, _ entry: PieceCache.Entry) {
        remove(digest)
        entries[digest] = entry
        byteCount += entry.byteCount
    }

    fileprivate mutating func remove(_ digest: ContentDigest) {
        byteCount -= entries.removeValue(forKey: digest)?.byteCount ?? 0
    }

    /// Forgets the least recently used until it fits, and then some, so that this is seldom needed.
    fileprivate mutating func evict(to byteCountMax: Int) -> [ContentDigest] {
        guard byteCount > byteCountMax else { return [] }
        let goal = byteCountMax / 10 * 9
        var evicted: [ContentDigest] = []
        for (digest, _) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse }) where byteCount > goal {
            remove(digest)
            evicted.append(digest)
        }
        return evicted
    }
}
