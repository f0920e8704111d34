import ArgumentParser
import ShoalCore
import Testing

@testable import shoal

@Suite("Addresses and models on the command line")
struct NetworkEndpointTests {
    private let defaults = NetworkEndpoint(host: "127.0.0.1", port: 7460)

    @Test(
        "every form that people write is read",
        arguments: [
            ("10.0.0.2:80", "10.0.0.2:80"), ("box", "box:7460"), (":9000", "127.0.0.1:9000"), ("box:0", "box:0"),
            ("http://box:80/", "box:80"), ("HTTP://box", "box:7460"), ("[::1]:80", "[::1]:80"), ("[::1]", "[::1]:7460"),
            ("::1", "[::1]:7460"), (" box:1 ", "box:1"),
        ])
    func forms(text: String, expected: String) {
        #expect(NetworkEndpoint(parsing: text, defaults: defaults)?.description == expected)
    }

    @Test(
        "what is no address is refused",
        arguments: ["", "box:", "box:x", "box:70000", "box:-1", "http://box/path", "[::1", "[]:1", "[::1]x"])
    func refused(text: String) {
        #expect(NetworkEndpoint(parsing: text, defaults: defaults) == nil)
    }

    @Test("a client goes to this machine where a server listens everywhere")
    func reachable() {
        #expect(NetworkEndpoint(host: "0.0.0.0", port: 1).reachable.description == "127.0.0.1:1")
        #expect(NetworkEndpoint(host: "::", port: 1).reachable.description == "[::1]:1")
        #expect(NetworkEndpoint(host: "box", port: 1).reachable.description == "box:1")
    }

    @Test("--host wins over SHOAL_HOST, and a wrong one says where it came from")
    func host() throws {
        let none = try ClientOptions.parse([])
        let given = try ClientOptions.parse(["--host", "b:2"])
        #expect(try none.endpoint(environment: [:]).description == "127.0.0.1:7460")
        #expect(try none.endpoint(environment: ["SHOAL_HOST": "http://a:1"]).description == "a:1")
        #expect(try given.endpoint(environment: ["SHOAL_HOST": "a:1"]).description == "b:2")
        let error = #expect(throws: ShoalError.self) { try none.endpoint(environment: ["SHOAL_HOST": "a:x"]) }
        #expect(error?.message == "SHOAL_HOST is \"a:x\", which is not HOST:PORT")
    }

    @Test(
        "a model that is a file is sent as an absolute path, a name as it is",
        arguments: [
            ("tiny", "tiny"), ("org/tiny", "org/tiny"), ("here.gguf", "/srv/here.gguf"), ("./x.gguf", "/srv/x.gguf"),
            ("../x.gguf", "/x.gguf"), ("/m/./a/../x.gguf", "/m/x.gguf"), ("~/x.gguf", "/home/ann/x.gguf"),
        ])
    func model(text: String, expected: String) {
        let argument = ModelArgument(text, currentDirectory: "/srv", home: "/home/ann") { $0 == "/srv/here.gguf" }
        #expect(argument.resolved == expected)
    }

    @Test("a file may be served under its name, with or without its ending")
    func servedNames() {
        let argument = ModelArgument("./m/x.gguf", currentDirectory: "/srv", home: nil) { _ in true }
        #expect(argument.servedNames == ["./m/x.gguf", "/srv/m/x.gguf", "x.gguf", "x"])
    }

    @Test("names are escaped in paths")
    func escaping() {
        #expect(percentEncoded("a/b c%é") == "a%2Fb%20c%25%C3%A9")
    }
}
