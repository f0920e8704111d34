import Foundation
import NIOCore
import NIOPosix
import ShoalCore
import ShoalRPC
import ShoalTesting
import Testing

@testable import ShoalTunnel

@Suite("What the worker's node has told the head's end")
struct PrimedTests {
    private static func facts() -> RPCServerFacts {
        var facts = RPCServerFacts(
            protocolVersion: "7.0.0", devices: [.init(freeByteCount: 5, totalByteCount: 6)])
        facts.hello = [7] + Array(repeating: 0, count: 27)
        return facts
    }

    @Test("memory is answered for a while only, everything else as long as the process lives")
    func memoryAges() {
        let known = KnownServer()
        let now = ContinuousClock.now
        known.prime(Self.facts(), serverNumber: 1, now: now)
        let end = now + TunnelLimits.memoryAnswerAgeMax
        #expect(known.answers(now: end - .milliseconds(1)).0[.memory(device: 0)] != nil)
        #expect(known.answers(now: end - .milliseconds(1)).memoryDeadline == end)
        #expect(known.answers(now: end).0[.memory(device: 0)] == nil)
        #expect(known.answers(now: end).memoryDeadline == nil)
        #expect(known.answers(now: end).0[.deviceCount] == [1, 0, 0, 0])
    }

    @Test("memory is forgotten when a session changes it, and known again when the node has asked again")
    func memoryChanges() {
        let known = KnownServer()
        let now = ContinuousClock.now
        known.prime(Self.facts(), serverNumber: 1, now: now)
        known.forgetMemory()
        #expect(known.answers(now: now).0[.memory(device: 0)] == nil)
        known.prime(Self.facts(), serverNumber: 1, now: now)
        #expect(known.answers(now: now).0[.memory(device: 0)] != nil)
    }

    @Test("another process, and one that may have died, has no answers")
    func otherProcess() {
        let known = KnownServer()
        known.prime(Self.facts(), serverNumber: 1, now: .now)
        #expect(!known.isOther(1))
        #expect(known.isOther(2))
        #expect(known.answers(now: .now).0.count == 0)
        known.prime(Self.facts(), serverNumber: 2, now: .now)
        known.forget()
        #expect(known.answers(now: .now).0.count == 0)
    }

    @Test("a process that is asked again keeps what its sessions learned, another one does not")
    func primedAgain() {
        let known = KnownServer()
        known.prime(Self.facts(), serverNumber: 1, now: .now)
        known.learn([1, 2, 3, 4, 5, 6, 7, 8], to: .maxSize(device: 0))
        known.prime(Self.facts(), serverNumber: 1, now: .now)
        #expect(known.answers(now: .now).0[.maxSize(device: 0)] != nil)
        known.prime(Self.facts(), serverNumber: 2, now: .now)
        #expect(known.answers(now: .now).0[.maxSize(device: 0)] == nil)
    }

    @Test("llama-server starts with one connection, opened ahead, and answers as without", .timeLimit(.minutes(5)))
    func realServer() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.referenceModel()
        let server = try await LlamaProgram.rpcServer(in: folder.url)
        defer { server.stop() }
        let plain = try await Tunnel.start(to: server.port, model: model, files: [model])
        let first = try await LlamaProgram.server(model: model, rpc: [plain.head.port], in: folder.url)
        let expected = try await first.complete("The sea is", tokenCount: 8)
        first.stop()
        try await eventually("the sessions end") { plain.worker.counters.openSessionCount == 0 }
        await plain.close()
        let tunnel = try await Tunnel.start(to: server.port, model: model, files: [model])
        let facts = try await tunnel.worker.probe(eventLoop: Tunnel.group.any(), deadline: .seconds(10))
        #expect(facts.devices.allSatisfy { $0.addsNoPadding && $0.alignment != nil && $0.maxByteCount != nil })
        tunnel.head.prime(facts, serverNumber: tunnel.worker.serverNumber)
        tunnel.head.warmUp()
        try await eventually("the connection is open") { tunnel.worker.counters.openSessionCount == 1 }
        let llama = try await LlamaProgram.server(model: model, rpc: [tunnel.head.port], in: folder.url)
        defer { llama.stop() }
        #expect(try await llama.complete("The sea is", tokenCount: 8) == expected)
        let counters = tunnel.head.counters
        #expect(counters.lastError == nil)
        #expect(counters.connectedSessionCount == 1)
        #expect(tunnel.worker.counters.sessionCount == 1)
        for command in [RPCCommand.hello, .deviceCount, .getAlignment, .getMaxSize, .getDeviceMemory] {
            #expect(counters.answeredLocally[command] == counters.commands[command]?.count)
        }
        await tunnel.close()
    }

    @Test("a connection that was opened ahead frees the rpc-server when it is not wanted", .timeLimit(.minutes(5)))
    func coolDown() async throws {
        try await withWarmTunnel { tunnel, echo in
            tunnel.head.coolDown()
            try await eventually("the session ends") { tunnel.worker.counters.openSessionCount == 0 }
            #expect(echo.bytes.isEmpty)
        }
    }

    @Test("of two connections that were opened ahead one is kept, and used", .timeLimit(.minutes(5)))
    func twoWarmConnections() async throws {
        try await withWarmTunnel { tunnel, _ in
            tunnel.head.warmUp()
            try await eventually("the first one ends") {
                tunnel.worker.counters.sessionCount == 2 && tunnel.worker.counters.openSessionCount == 1
            }
            let sent = Array("something else".utf8)
            #expect(try await exchange(sent, replyByteCount: sent.count, port: tunnel.head.port) == sent)
            #expect(tunnel.worker.counters.sessionCount == 2)
        }
    }

    /// A tunnel to a server that sends back what it gets, with one connection opened ahead.
    private func withWarmTunnel(_ body: (Tunnel, ByteServer) async throws -> Void) async throws {
        let folder = try TestFolder()
        let model = try TinyModelFile(seed: 1).write(to: folder.url.path)
        let echo = try await ByteServer.start { _, chunk in chunk }
        let tunnel = try await Tunnel.start(to: echo.port, model: model, files: [])
        tunnel.head.warmUp()
        try await eventually("the session is open") { tunnel.worker.counters.openSessionCount == 1 }
        try await body(tunnel, echo)
        await tunnel.close()
        await echo.close()
    }
}
