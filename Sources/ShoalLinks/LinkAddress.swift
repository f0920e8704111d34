internal import NIOCore
package import ShoalCore

/// Where a node listens or is dialled: "127.0.0.1:7461", "[::1]:7461", "localhost:7461".
package struct LinkAddress: Hashable, Sendable, CustomStringConvertible {
    /// The longest DNS name.
    private static let hostCharacterCountMax = 253

    /// An IPv4 or IPv6 address without brackets, or a host name.
    package let host: String
    package let port: UInt16

    /// Throws `addressUnusable` unless `host` is an address or a host name.
    package init(host: String, port: UInt16) throws(ShoalError) {
        guard Self.isAddress(host) || Self.isHostName(host) else {
            throw ShoalError(.addressUnusable, "\"\(host)\" is neither an IP address nor a host name")
        }
        self.host = host
        self.port = port
    }

    /// Reads HOST:PORT; an IPv6 address stands in brackets. Throws `addressUnusable` with an example.
    package init(parsing text: String) throws(ShoalError) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            throw Self.unreadable(text)
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { throw Self.unreadable(text) }
        } else if host.contains(":") {
            throw Self.unreadable(text)
        }
        do throws(ShoalError) {
            try self.init(host: String(host), port: port)
        } catch {
            throw Self.unreadable(text)
        }
    }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// 127.0.0.0/8, ::1, or the name localhost.
    package var isLoopback: Bool {
        guard host.lowercased() != "localhost" else { return true }
        guard let address = Self.ipAddress(host, port) else { return false }
        switch address {
        case .v4: return address.ipAddress?.hasPrefix("127.") ?? false
        case .v6: return address.ipAddress == "::1"
        case .unixDomainSocket: return true
        }
    }

    /// Nil when the host is a name.
    var socketAddress: SocketAddress? { Self.ipAddress(host, port) }

    private static func ipAddress(_ host: String, _ port: UInt16) -> SocketAddress? {
        // Not an address is an answer here, not a failure.
        try? SocketAddress(ipAddress: host, port: Int(port))
    }

    private static func isAddress(_ host: String) -> Bool { ipAddress(host, 0) != nil }

    private static func isHostName(_ host: String) -> Bool {
        guard (1...hostCharacterCountMax).contains(host.utf8.count) else { return false }
        return host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
            !label.isEmpty && !label.hasPrefix("-")
                && label.utf8.allSatisfy { byte in
                    (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte | 0x20) || byte == 0x2D || byte == 0x5F
                }
        }
    }

    private static func unreadable(_ text: String) -> ShoalError {
        ShoalError(.addressUnusable, "\"\(text)\" is not HOST:PORT; write for example 127.0.0.1:7461 or [::1]:7461")
    }
}

extension LinkAddress: Codable {
    package init(from decoder: any Decoder) throws {
        try self.init(parsing: try decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
