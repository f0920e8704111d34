internal import NIOCore
package import ShoalCore
internal import ShoalModel
internal import ShoalRPC
internal import ShoalStore
internal import Synchronization

/// The GGUF files of a worker, as a place to find pieces in.
///
/// Names, types and sizes say where to look; a piece is given out only after its bytes were hashed, every time. A file
/// that only ever disappoints (a fine-tune of the model that is loaded) is not asked any more.
package final class TensorLibrary: Sendable {
    private struct Score {
        var hitCount = 0
        var missCount = 0
    }

    /// Pieces that a model may get wrong before it was right once.
    private static let missCountMax = 8

    /// Files that could not be used; the others are.
    package let failures: [ShoalError]
    let index: TensorIndex
    private let files: [FileBytes]
    /// The model that a file belongs to.
    private let modelNumbers: [Int]
    private let scores: Mutex<[Score]>

    /// `paths`: any file of each model; shards are found by name. Reads headers only, of families that Shoal does not
    /// know too. Blocks.
    package init(paths: [String]) {
        var files: [FileBytes] = []
        var headers: [GGUFHeader] = []
        var modelNumbers: [Int] = []
        var failures: [ShoalError] = []
        for (number, path) in paths.enumerated() {
            do throws(ShoalError) {
                for path in StoredModel.paths(ofModelAt: path) where files.count < TunnelLimits.libraryFileCountMax {
                    let file = try FileBytes(path: path)
                    headers.append(try GGUFHeader.read(file, fileName: path))
                    files.append(file)
                    modelNumbers.append(number)
                }
            } catch {
                failures.append(error)
            }
        }
        self.files = files
        self.modelNumbers = modelNumbers
        self.failures = failures
        index = TensorIndex(headers: headers)
        scores = Mutex(Array(repeating: Score(), count: paths.count))
    }

    /// The bytes of a piece, hashed; nil if no file has them. Blocks.
    func read(_ reference: PieceReference) -> ByteBuffer? {
        for place in candidates(reference.span) {
            let bytes = read(reference.span, at: place)
            let isHit = bytes.map { ContentDigest(of: $0) == reference.digest } ?? false
            scores.withLock { scores in
                scores[modelNumbers[place.fileIndex]].hitCount += isHit ? 1 : 0
                scores[modelNumbers[place.fileIndex]].missCount += isHit ? 0 : 1
            }
            if isHit { return bytes }
        }
        return nil
    }

    /// The most promising first.
    private func candidates(_ span: PieceSpan) -> [TensorIndex.Place] {
        let places = index.places(for: span)
        return scores.withLock { scores in
            func score(_ place: TensorIndex.Place) -> Score { scores[modelNumbers[place.fileIndex]] }
            return places.filter { score($0).hitCount > 0 || score($0).missCount < Self.missCountMax }
                .sorted { score($0).hitCount > score($1).hitCount }
        }
    }

    private func read(_ span: PieceSpan, at place: TensorIndex.Place) -> ByteBuffer? {
        var buffer = ByteBuffer()
        do {
            try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: span.byteCount) { memory in
                try files[place.fileIndex].read(
                    into: UnsafeMutableRawBufferPointer(rebasing: memory[..<span.byteCount]),
                    offset: place.fileOffset + Int(span.offset))
                return span.byteCount
            }
        } catch {
            // A file that cannot be read any more has nothing.
            return nil
        }
        return buffer
    }
}
