import Crypto
package import ShoalCore
import SwiftASN1
import X509

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What a node proves itself with: a P-256 key, and a certificate that it signed itself.
///
/// Nothing in the certificate is believed but its key: the node's id is the SHA-256 of the public key in
/// SubjectPublicKeyInfo form, so an id cannot be claimed without the key.
package struct NodeKey: Sendable {
    private static let fileName = "node-key"
    private static let fileByteCountMax = 4096
    /// The certificate is a wrapper that peers do not check the dates of; still, some day tools may.
    private static let validYears = 30

    package let nodeID: NodeID
    /// For TLS. DER of the key as SEC 1 or PKCS #8, as BoringSSL reads it: a secret.
    package let privateKeyDER: [UInt8]
    /// For TLS; shown to every peer.
    package let certificateDER: [UInt8]

    /// A key that nothing stores.
    package static func make() throws(ShoalError) -> NodeKey { try NodeKey(P256.Signing.PrivateKey()) }

    /// Reads the key in `directory`, or makes and stores one with mode 0600. Throws `fileUnreadable` when the folder
    /// cannot be used, and refuses a damaged file rather than become somebody else.
    package static func loadOrCreate(in directory: String) throws(ShoalError) -> NodeKey {
        let file = SecretFile("\(directory)/\(fileName)")
        guard let bytes = try file.read(byteCountMax: fileByteCountMax) else {
            let key = P256.Signing.PrivateKey()
            try file.write(Array((key.pemRepresentation + "\n").utf8))
            return try NodeKey(key)
        }
        do {
            return try NodeKey(P256.Signing.PrivateKey(pemRepresentation: String(decoding: bytes, as: UTF8.self)))
        } catch {
            throw ShoalError(
                .fileUnreadable, "\(file.path) does not hold a node's key; restore it, or delete it to be a new node")
        }
    }

    /// The id of whoever holds the private key of this public key, given in SubjectPublicKeyInfo form.
    package static func nodeID(ofPublicKey subjectPublicKeyInfo: [UInt8]) -> NodeID? {
        NodeID(Hexadecimal.text(SHA256.hash(data: subjectPublicKeyInfo)))
    }

    private init(_ key: P256.Signing.PrivateKey) throws(ShoalError) {
        guard let nodeID = Self.nodeID(ofPublicKey: Array(key.publicKey.derRepresentation)) else {
            throw ShoalError(.internal, "a SHA-256 is no node id")
        }
        self.nodeID = nodeID
        privateKeyDER = Array(key.derRepresentation)
        do {
            certificateDER = try Self.certificate(for: key, nodeID: nodeID)
        } catch {
            throw ShoalError(.internal, "the node's certificate cannot be made: \(error)")
        }
    }

    private static func certificate(for key: P256.Signing.PrivateKey, nodeID: NodeID) throws -> [UInt8] {
        let name = try DistinguishedName { CommonName("shoal \(nodeID.rawValue.prefix(16))") }
        // From before any clock that is an hour off.
        let begin = Date(timeIntervalSince1970: 1_600_000_000)
        let certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(key.publicKey),
            notValidBefore: begin, notValidAfter: begin.addingTimeInterval(Double(validYears) * 31_557_600),
            issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256, extensions: .init(),
            issuerPrivateKey: .init(key))
        var serializer = DER.Serializer()
        try serializer.serialize(certificate)
        return serializer.serializedBytes
    }
}
