internal import Crypto
internal import NIOCore
internal import ShoalRPC

extension ContentDigest {
    init(of hash: SHA256) {
        guard let digest = ContentDigest(Array(hash.finalize())) else {
            preconditionFailure("a SHA-256 has 32 bytes")
        }
        self = digest
    }

    init(of bytes: ByteBuffer) {
        var hash = SHA256()
        bytes.withUnsafeReadableBytes { hash.update(bufferPointer: $0) }
        self.init(of: hash)
    }
}
