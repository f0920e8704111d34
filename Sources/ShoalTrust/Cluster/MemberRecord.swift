import Crypto
package import ShoalCore

/// A node that may link with the others.
package struct Member: Hashable, Sendable, Codable {
    package var nodeID: NodeID
    /// What it was called when it was admitted.
    package var name: String
    package var addedUnixSeconds: Int

    package init(nodeID: NodeID, name: String, addedUnixSeconds: Int) {
        self.nodeID = nodeID
        self.name = name
        self.addedUnixSeconds = addedUnixSeconds
    }
}

/// One line of the member list as it travels between members: authenticated with the cluster key, so that it can be
/// passed on by anyone and damaged by nobody.
package struct MemberRecord: Hashable, Sendable, Codable {
    package static let nameByteCountMax = 256

    package private(set) var member: Member
    /// Higher ones replace lower ones.
    package private(set) var version: UInt64
    /// A tombstone: never a member again.
    package private(set) var isForgotten: Bool
    private var mac: String

    package init(_ member: Member, version: UInt64, isForgotten: Bool, key: ClusterKey) {
        self.member = member
        self.version = version
        self.isForgotten = isForgotten
        mac = ""
        mac = Hexadecimal.text(HMAC<SHA256>.authenticationCode(for: authenticatedBytes, using: Self.macKey(key)))
    }

    /// Whether it was made by somebody with the cluster key.
    package func isGenuine(_ key: ClusterKey) -> Bool {
        guard member.name.utf8.count <= Self.nameByteCountMax,
            let code = Hexadecimal.bytes(mac, count: SHA256.byteCount)
        else { return false }
        return HMAC<SHA256>.isValidAuthenticationCode(
            code, authenticating: authenticatedBytes, using: Self.macKey(key))
    }

    private static func macKey(_ key: ClusterKey) -> SymmetricKey { key.subkey("member") }

    private var authenticatedBytes: [UInt8] {
        var bytes = Array(member.nodeID.rawValue.utf8)
        bytes.append(0)
        for number in [version, UInt64(bitPattern: Int64(member.addedUnixSeconds)), isForgotten ? 1 : 0] {
            withUnsafeBytes(of: number.bigEndian) { bytes += $0 }
        }
        return bytes + Array(member.name.utf8)
    }
}
