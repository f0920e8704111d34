import ShoalDiscovery
import Testing

@Suite("IP addresses")
struct IPAddressTests {
    @Test(
        "addresses are read and written as the standards say",
        arguments: [
            ("192.168.1.20", "192.168.1.20"), ("::1", "::1"), ("::", "::"), ("fe80::1", "fe80::1"),
            ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("::ffff:10.0.0.1", "10.0.0.1"), ("64:ff9b::1.2.3.4", "64:ff9b::102:304"), ("1::", "1::"),
        ])
    func reading(text: String, written: String) {
        #expect(IPAddress(text)?.description == written)
    }

    @Test(
        "what is no address is nothing",
        arguments: [
            "", ".", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.-4", "+1.2.3.4", "0001.2.3.4", ":", ":::", "1::2::3",
            "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "fe80::1%eth0", "g::", "1.2.3.4::", "::1.2.3", "::+1",
            "localhost",
        ])
    func notAddresses(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test(
        "each address has its class",
        arguments: [
            ("127.0.0.1", AddressClass.loopback), ("::1", .loopback), ("10.1.2.3", .lan), ("172.16.0.1", .lan),
            ("172.32.0.1", .wan), ("192.168.0.9", .lan), ("169.254.7.7", .linkLocal), ("fe80::1", .linkLocal),
            ("100.64.0.1", .vpn), ("100.127.255.254", .vpn), ("100.128.0.1", .wan), ("100.63.0.1", .wan),
            ("fd7a:115c:a1e0::5", .vpn), ("fd00::5", .lan), ("2001:db8::1", .wan), ("224.0.0.1", .unusable),
            ("255.255.255.255", .unusable), ("0.0.0.0", .unusable), ("::", .unusable), ("ff02::1", .unusable),
        ])
    func classes(text: String, expected: AddressClass) {
        #expect(IPAddress(text)?.addressClass == expected)
    }

    @Test("a network contains what shares its prefix")
    func networks() throws {
        let home = try #require(IPAddress("192.168.3.7"))
        #expect(try #require(IPAddress("192.168.3.200")).isIn(networkOf: home, prefixLength: 24))
        #expect(try !#require(IPAddress("192.168.4.7")).isIn(networkOf: home, prefixLength: 24))
        #expect(try #require(IPAddress("192.168.2.7")).isIn(networkOf: home, prefixLength: 23))
        #expect(try #require(IPAddress("8.8.8.8")).isIn(networkOf: home, prefixLength: 0))
        #expect(try !#require(IPAddress("::1")).isIn(networkOf: home, prefixLength: 0))
        #expect(!home.isIn(networkOf: home, prefixLength: 33))
    }
}
