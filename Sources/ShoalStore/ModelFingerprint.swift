import Crypto
package import ShoalCore
import ShoalModel

/// What makes two copies of a model equal, whatever their names and folders.
///
/// A SHA-256 over each file's size and header and over 4 KiB samples spread evenly over its tensor data. It finds equal
/// copies on other nodes by reading less than a megabyte; it is no proof that all bytes are equal, and none against
/// somebody who wants it to be wrong.
package struct ModelFingerprint: Sendable, Hashable, Codable, CustomStringConvertible {
    /// Samples per file; files with less tensor data than they cover are read whole.
    package static let sampleCount = 64
    package static let sampleByteCount = 4096
    /// More files than anybody keeps of one model.
    package static let similarCountMax = 8

    /// 64 lowercase hexadecimal characters.
    package let digest: String
    /// Of all files: tells most different models apart without reading them.
    package let byteCount: ByteCount

    package var description: String { digest }

    /// As somebody else computed it.
    package init(digest: String, byteCount: ByteCount) {
        self.digest = digest
        self.byteCount = byteCount
    }

    /// Reads the samples. Blocks.
    package init(of model: StoredModel) throws(ShoalError) {
        var hash = SHA256()
        hash.update("shoal model fingerprint 1")
        for (file, header) in zip(model.files, model.index.headers) {
            hash.update("\(file.byteCount) \(header.bytes.count)")
            hash.update(header.bytes)
            for range in ModelFingerprint.samples(from: header.bytes.count, to: file.byteCount) {
                hash.update(try file.read(offset: range.lowerBound, count: range.count))
            }
        }
        digest = hash.finalize().map { byte in
            let text = String(byte, radix: 16)
            return byte < 16 ? "0" + text : text
        }.joined()
        byteCount = model.byteCount
    }

    /// The path of an equal copy, or nil. Looks at `likelyPath` first, then at every model of the folders whose files
    /// have the right size; those that cannot be read are passed over. Blocks.
    package func findCopy(in folders: ModelFolders, likelyPath: String? = nil) -> String? {
        let candidates = (likelyPath.map { [$0] } ?? []) + folders.models().map(\.path)
        return candidates.first { path in
            guard let model = try? StoredModel.open(path: path, anyFamily: true), model.byteCount == byteCount else {
                return false
            }
            return (try? ModelFingerprint(of: model)) == self
        }
    }

    /// Paths of models of the same size, which may be equal, or equal but for some tensors; `likelyPath` first, at most
    /// `similarCountMax`. Blocks.
    package func findSimilar(in folders: ModelFolders, likelyPath: String? = nil) -> [String] {
        var found: [String] = []
        for path in (likelyPath.map { [$0] } ?? []) + folders.models().map(\.path) where !found.contains(path) {
            guard found.count < ModelFingerprint.similarCountMax else { break }
            // What cannot be read is no copy.
            guard let model = try? StoredModel.open(path: path, anyFamily: true) else { continue }
            if model.byteCount == byteCount { found.append(path) }
        }
        return found
    }

    /// Ascending, inside `start..<end`; together the whole of it if it is short.
    static func samples(from start: Int, to end: Int) -> [Range<Int>] {
        let byteCount = end - start
        guard byteCount > sampleCount * sampleByteCount else { return byteCount > 0 ? [start..<end] : [] }
        let last = byteCount - sampleByteCount
        return (0..<sampleCount).map { number in
            let offset = start + last / (sampleCount - 1) * number
            return offset..<offset + sampleByteCount
        }
    }
}

extension SHA256 {
    fileprivate mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { update(bufferPointer: $0) }
    }

    /// With a byte that text does not contain behind it.
    fileprivate mutating func update(_ text: String) { update(Array(text.utf8) + [0]) }
}
