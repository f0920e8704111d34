import Crypto
package import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The secret that all members of a cluster have: 256 random bits, never a passphrase.
///
/// It never leaves a node but inside an encrypted link to a node that was just admitted. It does not itself admit
/// anyone, unless the nodes were started with `--cluster-key`.
package struct ClusterKey: Hashable, Sendable, CustomStringConvertible {
    package static let byteCount = 32
    private static let fileByteCountMax = 1024

    private let bytes: [UInt8]

    package static func random() -> ClusterKey {
        ClusterKey(bytes: SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) })
    }

    /// Nil unless `text` is 64 hexadecimal characters.
    package init?(hexadecimal text: String) {
        guard let bytes = Hexadecimal.bytes(text, count: Self.byteCount) else { return nil }
        self.bytes = bytes
    }

    /// Reads `text` as 64 hexadecimal characters, or as the path of a file that holds them.
    package init(textOrFile text: String) throws(ShoalError) {
        if let key = ClusterKey(hexadecimal: text) {
            self = key
            return
        }
        guard let content = try SecretFile(text).read(byteCountMax: Self.fileByteCountMax) else {
            throw ShoalError(
                .invalidRequest,
                "the cluster key is neither \(Self.byteCount * 2) hexadecimal characters nor the path of a file; "
                    + "make one with: head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > FILE")
        }
        guard
            let key = ClusterKey(hexadecimal: String(decoding: content, as: UTF8.self).filter { !$0.isWhitespace })
        else {
            throw ShoalError(
                .fileUnreadable, "\(text) does not hold a cluster key of \(Self.byteCount * 2) hexadecimal characters")
        }
        self = key
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// A secret: for the data folder and for new members.
    package var hexadecimal: String { Hexadecimal.text(bytes) }

    /// Names the cluster without telling anything about the key; 16 hexadecimal characters.
    package var clusterID: String {
        subkey("id", byteCount: 8).withUnsafeBytes { Hexadecimal.text($0) }
    }

    /// Not the key.
    package var description: String { "the key of cluster \(clusterID)" }

    /// Independent keys for independent purposes, by HKDF-SHA256.
    func subkey(_ purpose: String, byteCount: Int = 32) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: bytes), info: Data("shoal v1 \(purpose)".utf8),
            outputByteCount: byteCount)
    }
}
