internal import NIOCore
package import ShoalCore

/// The interfaces of this machine, read from the system.
package enum SystemInterfaces {
    /// Every address of every interface now. Throws `addressUnusable` when the system refuses to tell. A short system
    /// call; not for an event loop that carries activations.
    package static func read() throws(ShoalError) -> [NetworkInterface] {
        do {
            return try System.enumerateDevices().compactMap(interface)
        } catch {
            throw ShoalError(.addressUnusable, "the network interfaces of this machine cannot be read: \(error)")
        }
    }

    private static func interface(_ device: NIONetworkDevice) -> NetworkInterface? {
        guard let text = device.address?.ipAddress, let address = IPAddress(text) else { return nil }
        let broadcast = device.broadcastAddress?.ipAddress.flatMap { IPAddress($0) }
        return NetworkInterface(
            name: device.name, address: address, prefixLength: prefixLength(device.netmask),
            broadcastAddress: broadcast?.isVersion4 == true ? broadcast : nil,
            supportsMulticast: device.multicastSupported, index: device.interfaceIndex)
    }

    private static func prefixLength(_ mask: SocketAddress?) -> Int? {
        guard let text = mask?.ipAddress, let mask = IPAddress(text) else { return nil }
        return mask.bytes.reduce(0) { $0 + $1.nonzeroBitCount }
    }
}
