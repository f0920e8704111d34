import Crypto
package import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The one-time secret of an invite: 128 random bits.
package struct InviteSecret: Hashable, Sendable {
    package static let byteCount = 16

    package let bytes: [UInt8]

    package static func random() -> InviteSecret {
        InviteSecret(bytes: SymmetricKey(size: .bits128).withUnsafeBytes { Array($0) })
    }

    /// Nil unless there are `byteCount` bytes.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// Names the invite without telling the secret; 16 hexadecimal characters.
    package var inviteID: String { subkey("invite id", byteCount: 8).withUnsafeBytes { Hexadecimal.text($0) } }

    func subkey(_ purpose: String, byteCount: Int = 32) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: bytes), info: Data("shoal v1 \(purpose)".utf8),
            outputByteCount: byteCount)
    }
}

/// A permission for one node to join, as its issuer keeps it.
package struct Invite: Hashable, Sendable {
    package enum State: Hashable, Sendable, Codable {
        case open
        case used(by: NodeID)
        case revoked
    }

    package let secret: InviteSecret
    package let createdUnixSeconds: Int
    package let expiresUnixSeconds: Int
    package internal(set) var state: State

    package var id: String { secret.inviteID }
}

extension Invite: Codable {
    private enum Key: CodingKey { case secret, created, expires, state }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        let text = try container.decode(String.self, forKey: .secret)
        guard let bytes = Hexadecimal.bytes(text, count: InviteSecret.byteCount), let secret = InviteSecret(bytes)
        else {
            throw DecodingError.dataCorruptedError(forKey: .secret, in: container, debugDescription: "not a secret")
        }
        self.secret = secret
        createdUnixSeconds = try container.decode(Int.self, forKey: .created)
        expiresUnixSeconds = try container.decode(Int.self, forKey: .expires)
        state = try container.decode(State.self, forKey: .state)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(Hexadecimal.text(secret.bytes), forKey: .secret)
        try container.encode(createdUnixSeconds, forKey: .created)
        try container.encode(expiresUnixSeconds, forKey: .expires)
        try container.encode(state, forKey: .state)
    }
}
