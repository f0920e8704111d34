package import ShoalLinks

/// Which addresses are announced on, told to others, and tried first. Pure.
package enum AddressPicker {
    /// Interfaces that beacons go out on; more are ignored.
    package static let announcedInterfaceCountMax = 32
    /// Addresses that a node tells about itself.
    package static let advertisedAddressCountMax = 8

    /// The interfaces to announce on: every network that may hold another node, loopback included (several nodes on one
    /// machine), without the bridges of containers and without IPv6 link-local addresses, which cannot be dialled
    /// without a scope.
    package static func announcing(on interfaces: [NetworkInterface]) -> [NetworkInterface] {
        let usable = interfaces.filter { interface in
            let kind = interface.address.addressClass
            guard kind != .unusable, !interface.isVirtual else { return false }
            guard kind != .linkLocal || interface.address.isVersion4 else { return false }
            return kind == .loopback || interface.supportsMulticast || interface.broadcastAddress != nil
        }
        return Array(unique(usable).sorted(by: isBetter).prefix(announcedInterfaceCountMax))
    }

    /// The addresses under which others may dial this machine, best first: private networks, then overlays, then
    /// public addresses. Container bridges are nobody else's business, and so is loopback unless there is nothing else:
    /// a machine without a network still has an address for its own nodes.
    package static func advertised(_ interfaces: [NetworkInterface], port: UInt16) -> [LinkAddress] {
        let usable = unique(interfaces).filter { interface in
            let kind = interface.address.addressClass
            return kind != .unusable && (kind != .linkLocal || interface.address.isVersion4)
        }
        let outward = usable.filter { $0.address.addressClass != .loopback && !$0.isVirtual }
        let chosen = outward.isEmpty ? usable.filter { $0.address.addressClass == .loopback } : outward
        return chosen.sorted(by: isBetter).prefix(advertisedAddressCountMax).compactMap {
            // An address that came from the system is an address; a refusal leaves it out.
            try? LinkAddress(host: $0.address.description, port: port)
        }
    }

    /// `addresses` in the order of trying: this machine, a network this machine is in, other private networks,
    /// overlays, names and public addresses. Unusable ones are left out.
    package static func ranked(_ addresses: [LinkAddress], from interfaces: [NetworkInterface]) -> [LinkAddress] {
        let ranks = addresses.map { ($0, rank($0, from: interfaces)) }
        return ranks.filter { $0.1 < unusableRank }.sorted { ($0.1, $0.0.description) < ($1.1, $1.0.description) }
            .map(\.0)
    }

    /// How long an address waits behind better ones of the same node. Source: TRANSPORT measurements, LAN first, then
    /// overlays after 150 ms, then the rest after 300 ms.
    package static func delay(of address: LinkAddress, from interfaces: [NetworkInterface]) -> Duration {
        switch rank(address, from: interfaces) {
        case ...1: .zero
        case 2: .milliseconds(100)
        case 3, 4: .milliseconds(150)
        default: .milliseconds(300)
        }
    }

    /// Whether an address could be dialled at all.
    package static func isUsable(_ address: LinkAddress) -> Bool {
        address.port != 0 && rank(address, from: []) < unusableRank
    }

    private static let unusableRank = 9

    private static func rank(_ address: LinkAddress, from interfaces: [NetworkInterface]) -> Int {
        guard let ip = IPAddress(address.host) else { return 5 }
        switch ip.addressClass {
        case .loopback: return 0
        case .unusable: return unusableRank
        case .linkLocal where !ip.isVersion4: return unusableRank
        case .linkLocal, .lan: return isNear(ip, interfaces) ? 1 : 2
        case .vpn: return interfaces.contains { $0.isOverlay } ? 3 : 6
        case .wan: return isNear(ip, interfaces) ? 1 : 5
        }
    }

    private static func isNear(_ address: IPAddress, _ interfaces: [NetworkInterface]) -> Bool {
        interfaces.contains { $0.contains(address) && !$0.isVirtual }
    }

    private static func isBetter(_ left: NetworkInterface, _ right: NetworkInterface) -> Bool {
        key(left) < key(right)
    }

    private static func key(_ interface: NetworkInterface) -> (Int, Int, String, String) {
        let order: Int =
            switch interface.address.addressClass {
            case .lan: interface.isOverlay ? 1 : 0
            case .vpn: 1
            case .wan: 2
            case .linkLocal: 3
            case .loopback: 4
            case .unusable: 5
            }
        return (order, interface.address.isVersion4 ? 0 : 1, interface.name, interface.address.description)
    }

    private static func unique(_ interfaces: [NetworkInterface]) -> [NetworkInterface] {
        var seen: Set<IPAddress> = []
        return interfaces.filter { seen.insert($0.address).inserted }
    }
}
