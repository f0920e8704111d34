import Crypto
import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The proof of a secret inside one TLS connection: an HMAC over both sides' node ids, which are the hashes of the keys
/// that TLS has just proved.
///
/// A man in the middle has other keys, so what he forwards is a proof for another pair; a recording is of no use
/// without the private key; the role keeps a proof from being sent back to where it came from.
struct AdmissionProof {
    enum Role: String { case dialling, listening }

    static let nonceByteCount = 32

    var dialler: NodeID
    var listener: NodeID
    var nonce: String

    static func makeNonce() -> String {
        SymmetricKey(size: .bits256).withUnsafeBytes { Hexadecimal.text($0) }
    }

    static func key(_ key: ClusterKey) -> SymmetricKey { key.subkey("admission") }
    static func key(_ secret: InviteSecret) -> SymmetricKey { secret.subkey("admission") }

    func made(by role: Role, key: SymmetricKey) -> String {
        Hexadecimal.text(HMAC<SHA256>.authenticationCode(for: transcript(role), using: key))
    }

    /// Compares in constant time.
    func isValid(_ proof: String, by role: Role, key: SymmetricKey) -> Bool {
        guard let code = Hexadecimal.bytes(proof, count: SHA256.byteCount),
            Hexadecimal.bytes(nonce, count: Self.nonceByteCount) != nil
        else { return false }
        return HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: transcript(role), using: key)
    }

    /// All fields have a fixed alphabet without "|".
    private func transcript(_ role: Role) -> Data {
        Data("shoal admission v1|\(role.rawValue)|\(dialler)|\(listener)|\(nonce)".utf8)
    }
}
