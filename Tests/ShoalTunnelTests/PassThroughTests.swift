import Foundation
import NIOCore
import NIOPosix
import ShoalCore
import ShoalRPC
import ShoalTesting
import Testing

@testable import ShoalTunnel

@Suite("What the tunnel does not understand")
struct PassThroughTests {
    @Test("goes through untouched in both directions, and back-pressure holds", .timeLimit(.minutes(5)))
    func foreignBytes() async throws {
        let folder = try TestFolder()
        let model = try TinyModelFile(seed: 1).write(to: folder.url.path)
        let echo = try await ByteServer.start { _, chunk in chunk }
        let tunnel = try await Tunnel.start(to: echo.port, model: model, files: [])
        let sent = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let back = try await exchange(sent, replyByteCount: sent.count, port: tunnel.head.port)
        let isEqual = back == sent && echo.bytes == sent
        #expect(isEqual)
        #expect(tunnel.head.counters.commands.isEmpty)
        await tunnel.close()
        await echo.close()
    }

    @Test("a server of another version is spoken to as if there were no tunnel", .timeLimit(.minutes(5)))
    func otherVersion() async throws {
        let folder = try TestFolder()
        let model = try TinyModelFile(seed: 1).write(to: folder.url.path)
        let reply = [28, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0] + [UInt8](repeating: 0, count: 24)
        let server = try await ByteServer.start { all, chunk in all.count == 33 ? reply : chunk }
        let tunnel = try await Tunnel.start(to: server.port, model: model, files: [])
        let error = await #expect(throws: ShoalError.self) {
            try await RPCClient.facts(
                host: "127.0.0.1", port: tunnel.head.port, eventLoop: Tunnel.group.any(), deadline: .seconds(20))
        }
        #expect(error?.message.contains("9.0.0") == true)
        await tunnel.close()
        await server.close()
    }

    @Test("a worker without an rpc-server says so, and llama-server's connection ends", .timeLimit(.minutes(5)))
    func noServer() async throws {
        let folder = try TestFolder()
        let model = try TinyModelFile(seed: 1).write(to: folder.url.path)
        let tunnel = try await Tunnel.start(to: try freePort(), model: model, files: [])
        let error = await #expect(throws: ShoalError.self) {
            try await RPCClient.facts(
                host: "127.0.0.1", port: tunnel.head.port, eventLoop: Tunnel.group.any(), deadline: .seconds(20))
        }
        #expect(error?.code == .protocolViolation)
        #expect(tunnel.head.counters.lastError?.contains("no rpc-server answers") == true)
        await tunnel.close()
    }

    @Test("a silent rpc-server is given up after the deadline", .timeLimit(.minutes(5)))
    func silentServer() async throws {
        let server = try await ByteServer.start { _, _ in [] }
        let error = await #expect(throws: ShoalError.self) {
            try await RPCClient.facts(
                host: "127.0.0.1", port: server.port, eventLoop: Tunnel.group.any(), deadline: .milliseconds(50))
        }
        #expect(error?.code == .timedOut)
        await server.close()
    }

    @Test("an rpc-server in a session is not asked", .timeLimit(.minutes(5)))
    func probeDuringSession() async throws {
        let folder = try TestFolder()
        let model = try TinyModelFile(seed: 1).write(to: folder.url.path)
        let echo = try await ByteServer.start { _, chunk in chunk }
        let tunnel = try await Tunnel.start(to: echo.port, model: model, files: [])
        let client = try await ClientBootstrap(group: Tunnel.group).connect(host: "127.0.0.1", port: tunnel.head.port)
            .get()
        try await client.writeAndFlush(ByteBuffer(string: "something else"))
        try await eventually("the session is open") { tunnel.worker.counters.openSessionCount == 1 }
        let error = await #expect(throws: ShoalError.self) {
            try await tunnel.worker.probe(eventLoop: Tunnel.group.any(), deadline: .seconds(1))
        }
        #expect(error?.code == .overloaded)
        try await client.close()
        try await eventually("the session ends") { tunnel.worker.counters.openSessionCount == 0 }
        await tunnel.close()
        await echo.close()
    }
}
