import NIOCore
import NIOPosix
import ShoalCore
import ShoalRPC
import ShoalTunnel
import Testing

@Suite("Verifying an rpc-server")
struct RPCClientTests {
    private let loop = MultiThreadedEventLoopGroup.singleton.next()

    @Test("the facts of a real rpc-server come directly and through a tunnel", .timeLimit(.minutes(5)))
    func realServer() async throws {
        let folder = try TestFolder()
        let server = try await LlamaProgram.rpcServer(in: folder.url)
        defer { server.stop() }
        let direct = try await facts(server.port)
        #expect(direct.protocolVersion == "7.0.0")
        #expect(direct.devices.count == 1)
        #expect(direct.devices[0].totalByteCount > 0)
        let tunnel = try await Tunnel.start(to: server.port, model: TestFiles.testModel("llama"), files: [])
        let carried = try await facts(tunnel.head.port)
        #expect(carried.devices.map(\.totalByteCount) == direct.devices.map(\.totalByteCount))
        // All but the memory is known now.
        _ = try await facts(tunnel.head.port)
        #expect(
            tunnel.head.counters.answeredLocally
                == [.hello: 1, .deviceCount: 1, .getAlignment: 1, .getMaxSize: 1, .getAllocSize: 1])
        await tunnel.close()
    }

    private func facts(_ port: Int) async throws -> RPCServerFacts {
        try await RPCClient.facts(host: "127.0.0.1", port: port, eventLoop: loop, deadline: .seconds(10))
    }
}
