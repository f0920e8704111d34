import Crypto
package import ShoalCore

/// What `shoal invite` prints and `shoal join` reads: everything that a new node needs to find the issuer, to know it
/// when it answers, and to prove that it was invited.
///
///     SHOAL1 base32( u8 version 1, 8 bytes cluster id, 32 bytes issuer's node id, 16 bytes secret,
///                    u8 number of addresses, then each: u8 4, 4 bytes IPv4, u16 port
///                                                   or: u8 0, u8 size, HOST:PORT as UTF-8;
///                    4 bytes of the SHA-256 of everything before )
package struct InviteCode: Hashable, Sendable, CustomStringConvertible {
    package static let addressCountMax = 8
    static let prefix = "SHOAL1"
    /// Longer than any code that fits the limits.
    private static let characterCountMax = 4096
    private static let addressByteCountMax = 255
    private static let version: UInt8 = 1
    private static let checksumByteCount = 4

    package let clusterID: String
    package let issuer: NodeID
    package let secret: InviteSecret
    /// HOST:PORT where the issuer takes links, the likeliest first.
    package let addresses: [String]

    /// Throws `internal` for an id that is not of a cluster or of a node with a key, `invalidRequest` for no address or
    /// too many.
    package init(clusterID: String, issuer: NodeID, secret: InviteSecret, addresses: [String]) throws(ShoalError) {
        guard Hexadecimal.bytes(clusterID, count: 8) != nil, Hexadecimal.bytes(issuer.rawValue, count: 32) != nil else {
            throw ShoalError(.internal, "an invite for cluster \(clusterID) of node \(issuer)")
        }
        guard (1...Self.addressCountMax).contains(addresses.count),
            addresses.allSatisfy({ (1...Self.addressByteCountMax).contains($0.utf8.count) })
        else {
            throw ShoalError(
                .invalidRequest, "an invite carries 1 to \(Self.addressCountMax) addresses, not \(addresses.count)")
        }
        self.clusterID = clusterID
        self.issuer = issuer
        self.secret = secret
        self.addresses = addresses
    }

    /// One word of letters and digits.
    package var description: String {
        var bytes = [Self.version]
        bytes += Hexadecimal.bytes(clusterID, count: 8) ?? []
        bytes += Hexadecimal.bytes(issuer.rawValue, count: 32) ?? []
        bytes += secret.bytes
        bytes.append(UInt8(addresses.count))
        for address in addresses { bytes += Self.encoded(address) }
        bytes += Self.checksum(bytes)
        return Self.prefix + Base32.text(bytes)
    }

    /// Reads a code; white space, dashes and the case of letters do not matter. Throws `invalidRequest`.
    package init(parsing text: String) throws(ShoalError) {
        guard text.utf8.count <= Self.characterCountMax else { throw Self.unreadable("it is too long") }
        let letters = text.filter { !$0.isWhitespace && $0 != "-" }
        guard letters.uppercased().hasPrefix(Self.prefix) else {
            throw Self.unreadable("it does not begin with \(Self.prefix)")
        }
        guard let bytes = Base32.bytes(letters.utf8.dropFirst(Self.prefix.utf8.count)),
            bytes.count > Self.checksumByteCount,
            Self.checksum(bytes.dropLast(Self.checksumByteCount)) == Array(bytes.suffix(Self.checksumByteCount))
        else { throw Self.unreadable("a character is wrong or missing; copy it again") }
        var reader = Reader(bytes: bytes.dropLast(Self.checksumByteCount))
        guard let version = reader.byte() else { throw Self.unreadable("it is cut off") }
        guard version == Self.version else {
            throw Self.unreadable("it is of version \(version), which another version of Shoal made")
        }
        guard let clusterID = reader.bytes(8), let issuer = reader.bytes(32).map(Hexadecimal.text).flatMap(NodeID.init),
            let secret = reader.bytes(InviteSecret.byteCount).flatMap(InviteSecret.init),
            let addresses = reader.addresses(), reader.isAtEnd
        else { throw Self.unreadable("it is cut off") }
        try self.init(
            clusterID: Hexadecimal.text(clusterID), issuer: issuer, secret: secret, addresses: addresses)
    }

    private static func checksum(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        Array(SHA256.hash(data: Array(bytes)).prefix(checksumByteCount))
    }

    private static func encoded(_ address: String) -> [UInt8] {
        let parts = address.split(separator: ":", omittingEmptySubsequences: false)
        let numbers = parts.first.map { $0.split(separator: ".", omittingEmptySubsequences: false) } ?? []
        let octets = numbers.compactMap { UInt8($0) }
        if parts.count == 2, numbers.count == 4, octets.count == 4, let port = UInt16(parts[1]),
            "\(octets.map(String.init).joined(separator: ".")):\(port)" == address
        {
            return [4] + octets + [UInt8(port >> 8), UInt8(port & 255)]
        }
        return [0, UInt8(address.utf8.count)] + Array(address.utf8)
    }

    private static func unreadable(_ reason: String) -> ShoalError {
        ShoalError(.invalidRequest, "this is not a usable invite code: \(reason)")
    }

    /// Takes fields from the front; nil when they are not there.
    private struct Reader {
        var bytes: ArraySlice<UInt8>

        var isAtEnd: Bool { bytes.isEmpty }

        mutating func byte() -> UInt8? { bytes.popFirst() }

        mutating func bytes(_ count: Int) -> [UInt8]? {
            guard bytes.count >= count else { return nil }
            defer { bytes = bytes.dropFirst(count) }
            return Array(bytes.prefix(count))
        }

        mutating func addresses() -> [String]? {
            guard let count = byte(), count <= InviteCode.addressCountMax else { return nil }
            var addresses: [String] = []
            for _ in 0..<count {
                guard let address = address() else { return nil }
                addresses.append(address)
            }
            return addresses
        }

        private mutating func address() -> String? {
            switch byte() {
            case 4:
                guard let bytes = bytes(6) else { return nil }
                return "\(bytes[0]).\(bytes[1]).\(bytes[2]).\(bytes[3]):\(Int(bytes[4]) << 8 | Int(bytes[5]))"
            case 0:
                guard let count = byte(), let text = bytes(Int(count)) else { return nil }
                return String(validating: text, as: UTF8.self)
            default:
                return nil
            }
        }
    }
}
