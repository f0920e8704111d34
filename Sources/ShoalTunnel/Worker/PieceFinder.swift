internal import NIOCore
internal import ShoalRPC

/// Finds pieces in a worker's files and cache. Every method blocks.
final class PieceFinder: Sendable {
    private let library: TensorLibrary
    private let cache: PieceCache?

    init(library: TensorLibrary, cache: PieceCache?) {
        self.library = library
        self.cache = cache
    }

    /// The bytes of a piece, which have its hash.
    func find(_ reference: PieceReference) -> (bytes: ByteBuffer, source: PieceSource)? {
        if let bytes = library.read(reference) { return (bytes, .file) }
        guard let bytes = cache?.read(reference.digest, byteCount: reference.span.byteCount) else { return nil }
        return (bytes, .cache)
    }

    /// Whether `bytes` are the piece; then they are kept.
    func accept(_ bytes: ByteBuffer, for reference: PieceReference) -> Bool {
        guard bytes.readableBytes == reference.span.byteCount, ContentDigest(of: bytes) == reference.digest else {
            return false
        }
        cache?.keep(bytes, as: reference.digest)
        return true
    }
}
