import ShoalCore
import ShoalDiscovery
import ShoalLinks
import Testing

/// Values that tests share.
enum Samples {
    static let cluster = ClusterTag(rawValue: 0x1122_3344_5566_7788)

    static func node(_ number: Int) throws -> NodeID {
        let digits = String(number, radix: 16)
        return try #require(NodeID(String(repeating: "0", count: 64 - digits.count) + digits))
    }

    static func configuration(_ number: Int, port: UInt16 = 7461) throws -> DiscoveryConfiguration {
        DiscoveryConfiguration(node: try node(number), cluster: cluster, linkPort: port)
    }

    static func interface(
        _ name: String, _ address: String, prefix: Int = 24, broadcast: String? = nil, multicast: Bool = true
    ) throws -> NetworkInterface {
        NetworkInterface(
            name: name, address: try #require(IPAddress(address)), prefixLength: prefix,
            broadcastAddress: broadcast.flatMap { IPAddress($0) }, supportsMulticast: multicast, index: 1)
    }

    static func address(_ text: String) throws -> LinkAddress { try LinkAddress(parsing: text) }
}

extension DiscoveryAction {
    var dialledAddress: LinkAddress? {
        guard case .dial(let address, _) = self else { return nil }
        return address
    }

    var announcedBytes: [UInt8]? {
        guard case .announce(let bytes, _) = self else { return nil }
        return bytes
    }
}
