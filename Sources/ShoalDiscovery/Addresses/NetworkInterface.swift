/// One address of one network interface; an interface with two addresses is two of these.
package struct NetworkInterface: Hashable, Sendable {
    package var name: String
    package var address: IPAddress
    /// Bits of the network part; nil when the system does not tell.
    package var prefixLength: Int?
    /// The directed broadcast address, IPv4 only.
    package var broadcastAddress: IPAddress?
    package var supportsMulticast: Bool
    /// The system's number of the interface.
    package var index: Int

    package init(
        name: String, address: IPAddress, prefixLength: Int? = nil, broadcastAddress: IPAddress? = nil,
        supportsMulticast: Bool = true, index: Int = 0
    ) {
        self.name = name
        self.address = address
        self.prefixLength = prefixLength
        self.broadcastAddress = broadcastAddress
        self.supportsMulticast = supportsMulticast
        self.index = index
    }

    /// Bridges and pairs of containers and virtual machines: their addresses mean nothing outside this machine.
    package var isVirtual: Bool {
        Self.virtualNamePrefixes.contains(where: name.hasPrefix)
    }

    /// An overlay network, by address or by the names its programs give their devices.
    package var isOverlay: Bool {
        address.addressClass == .vpn || Self.overlayNamePrefixes.contains(where: name.hasPrefix)
    }

    /// Whether `other` is in the network of this interface.
    package func contains(_ other: IPAddress) -> Bool {
        guard let prefixLength else { return other == address }
        return other.isIn(networkOf: address, prefixLength: prefixLength)
    }

    private static let virtualNamePrefixes = [
        "docker", "br-", "veth", "virbr", "vnet", "cni", "podman", "flannel", "cali", "lxc", "lxdbr", "incusbr",
        "vmnet",
        "vboxnet", "bridge1",
    ]
    private static let overlayNamePrefixes = ["tailscale", "utun", "tun", "tap", "wg", "zt", "nebula"]
}
