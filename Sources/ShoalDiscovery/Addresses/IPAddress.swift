/// An IPv4 or IPv6 address without port and scope. IPv4-mapped IPv6 addresses are read as IPv4.
package struct IPAddress: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// 4 or 16 bytes, network order.
    package let bytes: [UInt8]

    /// Nil unless there are 4 or 16 bytes.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        let isMapped = bytes.count == 16 && bytes.prefix(12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]
        self.bytes = isMapped ? Array(bytes.suffix(4)) : bytes
    }

    /// Nil unless `text` is a dotted IPv4 or a colon-separated IPv6 address. Source: RFC 4291, section 2.2.
    package init?(_ text: some StringProtocol) {
        let parsed = text.contains(":") ? Self.version6(text) : Self.version4(text)
        guard let parsed else { return nil }
        self.init(bytes: parsed)
    }

    package var isVersion4: Bool { bytes.count == 4 }

    package static func < (left: IPAddress, right: IPAddress) -> Bool {
        (left.bytes.count, left.description) < (right.bytes.count, right.description)
    }

    /// Whether the first `prefixLength` bits are those of `other`.
    package func isIn(networkOf other: IPAddress, prefixLength: Int) -> Bool {
        guard bytes.count == other.bytes.count, (0...bytes.count * 8).contains(prefixLength) else { return false }
        return bytes.indices.allSatisfy { index in
            let bits = min(max(prefixLength - index * 8, 0), 8)
            let mask = UInt8(truncatingIfNeeded: 0xFF00 >> bits)
            return bytes[index] & mask == other.bytes[index] & mask
        }
    }

    /// As RFC 5952 writes it.
    package var description: String {
        guard !isVersion4 else { return bytes.map(String.init).joined(separator: ".") }
        let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
        let words = groups.map { String($0, radix: 16) }
        guard let zeros = Self.longestZeroRun(groups) else { return words.joined(separator: ":") }
        return words[..<zeros.lowerBound].joined(separator: ":") + "::"
            + words[zeros.upperBound...].joined(separator: ":")
    }

    private static func longestZeroRun(_ groups: [UInt16]) -> Range<Int>? {
        var best: Range<Int>?
        var start = 0
        while start < groups.count {
            guard groups[start] == 0 else {
                start += 1
                continue
            }
            let end = groups[start...].firstIndex { $0 != 0 } ?? groups.count
            if end - start > max(best?.count ?? 0, 1) { best = start..<end }
            start = end
        }
        return best
    }

    private static func version4(_ text: some StringProtocol) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let bytes = parts.compactMap { part in
            part.utf8.count <= 3 && part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt8(part) : nil
        }
        return parts.count == 4 && bytes.count == 4 ? bytes : nil
    }

    private static func version6(_ text: some StringProtocol) -> [UInt8]? {
        guard text.utf8.count <= 45 else { return nil }
        let characters = Array(text)
        let gap = characters.indices.dropLast().first { characters[$0] == ":" && characters[$0 + 1] == ":" }
        guard let gap else {
            let all = groupBytes(String(characters))
            return all?.count == 16 ? all : nil
        }
        guard let head = groupBytes(String(characters[..<gap]), mayEndDotted: false),
            let tail = groupBytes(String(characters[(gap + 2)...])),
            head.count + tail.count <= 14
        else { return nil }
        return head + Array(repeating: 0, count: 16 - head.count - tail.count) + tail
    }

    /// The bytes of "a:b:c", whose last part may be a dotted IPv4 address; empty for an empty text.
    private static func groupBytes(_ text: String, mayEndDotted: Bool = true) -> [UInt8]? {
        guard !text.isEmpty else { return [] }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 8 else { return nil }
        var bytes: [UInt8] = []
        for (index, part) in parts.enumerated() {
            if mayEndDotted, index == parts.count - 1, part.contains("."), let tail = version4(part) {
                bytes += tail
                continue
            }
            guard (1...4).contains(part.utf8.count), !part.hasPrefix("+"), let group = UInt16(part, radix: 16) else {
                return nil
            }
            bytes += [UInt8(group >> 8), UInt8(group & 0xFF)]
        }
        return bytes.count <= 16 ? bytes : nil
    }
}

/// Where an address is good for: what decides the order in which addresses are tried.
package enum AddressClass: Int, Sendable, Comparable, CaseIterable {
    /// This machine only.
    case loopback
    /// A private network: 10/8, 172.16/12, 192.168/16, fc00::/7.
    case lan
    /// A cable without DHCP: 169.254/16, fe80::/10.
    case linkLocal
    /// An overlay: 100.64/10 (carrier-grade NAT too, which is dialled in vain and does no harm), fd7a:115c:a1e0::/48.
    case vpn
    /// Anything else that can be dialled.
    case wan
    /// Multicast, broadcast, unspecified, reserved: never dialled.
    case unusable

    package static func < (left: AddressClass, right: AddressClass) -> Bool { left.rawValue < right.rawValue }
}

extension IPAddress {
    package var addressClass: AddressClass { isVersion4 ? version4Class : version6Class }

    private var version4Class: AddressClass {
        switch (bytes[0], bytes[1]) {
        case (127, _): .loopback
        case (10, _), (172, 16...31), (192, 168): .lan
        case (169, 254): .linkLocal
        case (100, 64...127): .vpn
        case (0, _), (224..., _): .unusable
        default: .wan
        }
    }

    private var version6Class: AddressClass {
        if bytes.dropLast().allSatisfy({ $0 == 0 }) { return bytes[15] == 1 ? .loopback : .unusable }
        if bytes.prefix(6) == [0xFD, 0x7A, 0x11, 0x5C, 0xA1, 0xE0] { return .vpn }
        if bytes[0] & 0xFE == 0xFC { return .lan }
        if bytes[0] == 0xFE, bytes[1] & 0xC0 == 0x80 { return .linkLocal }
        return bytes[0] == 0xFF ? .unusable : .wan
    }
}
