package import ShoalCore

/// What a node says on the local network: that a node with this id accepts links at this port of the sender's address.
package struct Beacon: Hashable, Sendable {
    /// Why it was sent.
    package enum Kind: UInt8, Sendable, CaseIterable {
        /// To everybody; who hears it may answer.
        case announcement = 1
        /// To the sender of an announcement; never answered.
        case reply = 2
    }

    package var kind: Kind
    /// Of links, so that another version is told and not dialled in vain.
    package var protocolNumber: UInt8
    package var cluster: ClusterTag
    package var node: NodeID
    package var linkPort: UInt16

    package init(kind: Kind, protocolNumber: UInt8, cluster: ClusterTag, node: NodeID, linkPort: UInt16) {
        self.kind = kind
        self.protocolNumber = protocolNumber
        self.cluster = cluster
        self.node = node
        self.linkPort = linkPort
    }
}

/// Beacons as bytes: magic "SHBN", format, kind, protocol number, reserved 0, cluster tag (8), link port (2), number of
/// characters of the id, the id as nibbles; big-endian, nothing after. `docs/discovery.md` is its specification.
package enum BeaconCodec {
    /// "SHBN".
    package static let magic: UInt32 = 0x5348_424E
    package static let format: UInt8 = 1
    /// A datagram of more bytes is no beacon.
    package static let byteCountMax = headerByteCount + (Limits.nodeIDCharacterCountMax + 1) / 2
    private static let headerByteCount = 19

    package static func encode(_ beacon: Beacon) -> [UInt8] {
        let id = Array(beacon.node.rawValue.utf8)
        var bytes = bigEndian(magic) + [format, beacon.kind.rawValue, beacon.protocolNumber, 0]
        bytes += bigEndian(beacon.cluster.rawValue) + bigEndian(beacon.linkPort) + [UInt8(id.count)]
        for start in stride(from: 0, to: id.count, by: 2) {
            bytes.append(nibble(id[start]) << 4 | (start + 1 < id.count ? nibble(id[start + 1]) : 0))
        }
        return bytes
    }

    /// Throws `protocolViolation` for anything that `encode` does not write; the message names what is wrong.
    package static func decode(_ bytes: [UInt8]) throws(ShoalError) -> Beacon {
        guard (headerByteCount...byteCountMax).contains(bytes.count) else {
            throw violation("has \(bytes.count) bytes; a beacon has \(headerByteCount) to \(byteCountMax)")
        }
        guard bytes.prefix(4).elementsEqual(bigEndian(magic)) else { throw violation("does not begin with SHBN") }
        guard bytes[4] == format else { throw violation("has format \(bytes[4]); this node reads format \(format)") }
        guard let kind = Beacon.Kind(rawValue: bytes[5]) else { throw violation("has unknown kind \(bytes[5])") }
        guard bytes[7] == 0 else { throw violation("has \(bytes[7]) in the reserved byte") }
        guard let cluster = ClusterTag(digest: bytes[8..<16]) else { throw violation("has no cluster tag") }
        let port = UInt16(bytes[16]) << 8 | UInt16(bytes[17])
        guard port != 0 else { throw violation("has link port 0") }
        return Beacon(
            kind: kind, protocolNumber: bytes[6], cluster: cluster, node: try node(bytes), linkPort: port)
    }

    private static func node(_ bytes: [UInt8]) throws(ShoalError) -> NodeID {
        let count = Int(bytes[18])
        let packed = bytes[headerByteCount...]
        guard (1...Limits.nodeIDCharacterCountMax).contains(count), packed.count == (count + 1) / 2 else {
            throw violation("has \(packed.count) bytes for an id of \(count) characters")
        }
        guard count.isMultiple(of: 2) || packed.last.map({ $0 & 0xF == 0 }) ?? false else {
            throw violation("has bits after an id of \(count) characters")
        }
        let digits = Array("0123456789abcdef")
        let characters = packed.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 0xF)]] }.prefix(count)
        guard let node = NodeID(String(characters)) else { throw violation("has no node id") }
        return node
    }

    /// Of a lowercase hexadecimal digit, which is all that a `NodeID` holds.
    private static func nibble(_ digit: UInt8) -> UInt8 { digit >= 0x61 ? digit - 0x61 + 10 : digit - 0x30 }

    private static func bigEndian<Integer: FixedWidthInteger>(_ value: Integer) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }

    private static func violation(_ problem: String) -> ShoalError {
        ShoalError(.protocolViolation, "a datagram on the discovery port \(problem)")
    }
}
