import ShoalCore
import ShoalLinks
import Testing

@Suite("Link addresses")
struct LinkAddressTests {
    @Test(
        "addresses are read and written back",
        arguments: ["127.0.0.1:7461", "[::1]:7461", "localhost:0", "node-2.local:65535", "10.0.0.7:1"])
    func roundTrip(text: String) throws {
        #expect(try LinkAddress(parsing: text).description == text)
    }

    @Test(
        "what is no address is refused with an example",
        arguments: [
            "", "7461", "localhost", "localhost:", "localhost:70000", "::1:7461", "[::1]", "[x]:1", ":1", "a b:1",
            "a..b:1",
        ])
    func refused(text: String) {
        let error = #expect(throws: ShoalError.self) { try LinkAddress(parsing: text) }
        #expect(error?.code == .addressUnusable)
        #expect(error?.message.contains("127.0.0.1:7461") == true)
    }

    @Test("loopback is known", arguments: ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1", "LOCALHOST:1"])
    func loopback(text: String) throws {
        #expect(try LinkAddress(parsing: text).isLoopback)
    }

    @Test(
        "everything else is not loopback",
        arguments: [
            "0.0.0.0:1", "[::]:1", "192.168.1.2:1", "example.org:1", "127.0.0.1.example.org:1", "[::ffff:10.0.0.1]:1",
        ])
    func notLoopback(text: String) throws {
        #expect(try !LinkAddress(parsing: text).isLoopback)
    }
}
