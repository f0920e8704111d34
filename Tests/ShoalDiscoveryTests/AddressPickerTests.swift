import ShoalDiscovery
import ShoalLinks
import Testing

@Suite("Which addresses are used")
struct AddressPickerTests {
    /// A laptop: cable, WiFi, Docker, a VPN, loopback, and link-local addresses.
    private func laptop() throws -> [NetworkInterface] {
        [
            try Samples.interface("lo", "127.0.0.1", prefix: 8, multicast: false),
            try Samples.interface("docker0", "172.17.0.1", prefix: 16, broadcast: "172.17.255.255"),
            try Samples.interface("br-1f2e3d", "172.18.0.1", prefix: 16, broadcast: "172.18.255.255"),
            try Samples.interface("tailscale0", "100.101.102.103", prefix: 32, multicast: false),
            try Samples.interface("wlan0", "192.168.3.7", broadcast: "192.168.3.255"),
            try Samples.interface("wlan0", "fe80::1234", prefix: 64),
            try Samples.interface("eth0", "10.0.0.5", broadcast: "10.0.0.255"),
            try Samples.interface("eth1", "169.254.9.9", prefix: 16, broadcast: "169.254.255.255"),
        ]
    }

    @Test("beacons go out on every real network and loopback, not on container bridges or overlays without multicast")
    func announcing() throws {
        #expect(AddressPicker.announcing(on: try laptop()).map(\.name) == ["eth0", "wlan0", "eth1", "lo"])
    }

    @Test("an overlay that carries multicast is announced on")
    func multicastOverlay() throws {
        let overlay = try Samples.interface("zt0", "10.147.0.2", broadcast: "10.147.0.255")
        #expect(AddressPicker.announcing(on: [overlay]) == [overlay])
    }

    @Test("other nodes are told private addresses first, then the VPN's, never loopback or a container bridge")
    func advertised() throws {
        let told = AddressPicker.advertised(try laptop(), port: 7000).map(\.description)
        #expect(told == ["10.0.0.5:7000", "192.168.3.7:7000", "100.101.102.103:7000", "169.254.9.9:7000"])
    }

    @Test("a machine without a network tells its loopback address")
    func offline() throws {
        let only = [try Samples.interface("lo", "127.0.0.1", prefix: 8, multicast: false)]
        #expect(AddressPicker.advertised(only, port: 1).map(\.description) == ["127.0.0.1:1"])
        #expect(AddressPicker.advertised([], port: 1).isEmpty)
    }

    @Test("the number of announced and advertised addresses is bounded")
    func bounds() throws {
        let many = try (0..<200).map { try Samples.interface("eth\($0)", "10.0.\($0).1", broadcast: "10.0.\($0).255") }
        #expect(AddressPicker.announcing(on: many).count == AddressPicker.announcedInterfaceCountMax)
        #expect(AddressPicker.advertised(many, port: 1).count == AddressPicker.advertisedAddressCountMax)
    }

    @Test("a peer's addresses are tried from near to far")
    func ranking() throws {
        let addresses = try [
            "203.0.113.9:1", "100.90.1.1:1", "172.16.9.9:1", "192.168.3.50:1", "peer.example:1", "224.0.0.1:1",
            "127.0.0.1:1", "[fe80::9]:1",
        ].map(Samples.address)
        let ranked = AddressPicker.ranked(addresses, from: try laptop()).map(\.host)
        #expect(
            ranked == [
                "127.0.0.1", "192.168.3.50", "172.16.9.9", "100.90.1.1", "203.0.113.9", "peer.example",
            ])
    }

    @Test("a VPN address is usable, later than the LAN and before nothing at all")
    func overlayDelay() throws {
        let vpn = try Samples.address("100.90.1.1:1")
        let near = try Samples.address("192.168.3.50:1")
        #expect(AddressPicker.isUsable(vpn))
        #expect(AddressPicker.delay(of: near, from: try laptop()) == .zero)
        #expect(AddressPicker.delay(of: vpn, from: try laptop()) == .milliseconds(150))
        #expect(try !AddressPicker.isUsable(Samples.address("255.255.255.255:1")))
        #expect(try !AddressPicker.isUsable(Samples.address("10.0.0.1:0")))
    }
}
