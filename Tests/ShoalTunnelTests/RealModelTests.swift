import Foundation
import NIOCore
import NIOPosix
import ShoalCore
import ShoalModel
import ShoalRPC
import ShoalStore
import Testing

@testable import ShoalTunnel

/// Stock llama-server and ggml-rpc-server with Shoal's tunnel between them.
@Suite("llama.cpp through a tunnel", .serialized)
struct RealModelTests {
    private let prompt = "The three most important things to know about the sea are"

    @Test("with the file on both sides no weight travels, and the text is the same", .timeLimit(.minutes(5)))
    func fileOnBothSides() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.referenceModel()
        let expected = try await directAnswer(model, in: folder.url)
        let (text, counters, link) = try await carried(model, files: [model], in: folder.url)
        #expect(text == expected)
        #expect(counters.weights.sentByteCount == 0)
        #expect(counters.weights.fromFileByteCount > 90_000_000)
        #expect(counters.weights.fromFileByteCount == counters.weights.allByteCount)
        #expect(counters.expectedWeightByteCount >= counters.weights.allByteCount)
        #expect(counters.graphComputeCount > 20)
        #expect(!counters.isPassThrough)
        #expect(counters.lastError == nil)
        // The short sessions in which llama-server only asks share one connection.
        #expect(counters.sessionCount > 5)
        #expect(counters.connectedSessionCount < 4)
        // References, the graph and the answers; 96 MB of weights are not among them.
        #expect(link < 10_000_000)
    }

    @Test("without the file the weights are sent once, and come from the cache the next time", .timeLimit(.minutes(5)))
    func fileMissing() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.referenceModel()
        let expected = try await directAnswer(model, in: folder.url)
        let cacheFolder = folder.url.appending(path: "cache").path
        let cache = try PieceCache(folder: cacheFolder, byteCountMax: 1 << 30)
        let (first, sent, _) = try await carried(model, files: [], cache: cache, in: folder.url)
        #expect(first == expected)
        #expect(sent.weights.sentByteCount == sent.weights.allByteCount)
        // As another process would find it.
        let again = try PieceCache(folder: cacheFolder, byteCountMax: 1 << 30)
        #expect(again.byteCount == cache.byteCount)
        let (second, found, link) = try await carried(model, files: [], cache: again, in: folder.url)
        #expect(second == expected)
        #expect(found.weights.sentByteCount == 0)
        #expect(found.weights.fromCacheByteCount == found.weights.allByteCount)
        #expect(link < 10_000_000)
    }

    @Test("of a file that differs in one byte of one tensor only that piece is sent", .timeLimit(.minutes(5)))
    func oneByteDiffers() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.referenceModel()
        let expected = try await directAnswer(model, in: folder.url)
        let other = folder.url.appending(path: "other.gguf").path
        let tensor = try Self.copy(model, to: other, changing: "blk.7.ffn_down.weight")
        let (text, counters, _) = try await carried(model, files: [other], in: folder.url)
        #expect(text == expected)
        #expect(counters.weights.sentByteCount == min(tensor, PieceSpan.byteCountMax))
        #expect(
            counters.weights.fromFileByteCount + counters.weights.sentByteCount == counters.weights.allByteCount)
    }

    @Test("a model in several files is found in several files", .timeLimit(.minutes(5)))
    func splitModel() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.testModel("llama-split-00001-of-00003")
        let expected = try await directAnswer(model, in: folder.url)
        let (text, counters, _) = try await carried(model, files: [model], in: folder.url)
        #expect(text == expected)
        #expect(counters.weights.sentByteCount == 0)
        #expect(counters.weights.fromFileByteCount == counters.weights.allByteCount)
        #expect(counters.weights.allByteCount > 0)
    }

    @Test("of two workers only the one without the file receives weights", .timeLimit(.minutes(5)))
    func twoWorkers() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.referenceModel()
        let expected = try await directAnswer(model, in: folder.url)
        let servers = [
            try await LlamaProgram.rpcServer(in: folder.url), try await LlamaProgram.rpcServer(in: folder.url),
        ]
        defer { for server in servers { server.stop() } }
        let tunnels = [
            try await Tunnel.start(to: servers[0].port, model: model, files: [model]),
            try await Tunnel.start(to: servers[1].port, model: model, files: []),
        ]
        let llama = try await LlamaProgram.server(model: model, rpc: tunnels.map(\.head.port), in: folder.url)
        defer { llama.stop() }
        #expect(try await llama.complete(prompt) == expected)
        let (first, second) = (tunnels[0].head.counters, tunnels[1].head.counters)
        #expect(first.weights.sentByteCount == 0)
        #expect(first.weights.fromFileByteCount > 10_000_000)
        #expect(second.weights.sentByteCount > 10_000_000)
        #expect(second.weights.sentByteCount == second.weights.allByteCount)
        #expect(!first.isPassThrough && !second.isPassThrough)
        for tunnel in tunnels { await tunnel.close() }
    }

    @Test("a second llama-server is answered from what the first one learned", .timeLimit(.minutes(5)))
    func restart() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.testModel("llama")
        let server = try await LlamaProgram.rpcServer(in: folder.url)
        defer { server.stop() }
        let tunnel = try await Tunnel.start(to: server.port, model: model, files: [model])
        let first = try await LlamaProgram.server(model: model, rpc: [tunnel.head.port], in: folder.url)
        let expected = try await first.complete(prompt)
        first.stop()
        try await eventually("the sessions end") { tunnel.worker.counters.openSessionCount == 0 }
        let before = tunnel.head.counters
        let second = try await LlamaProgram.server(model: model, rpc: [tunnel.head.port], in: folder.url)
        defer { second.stop() }
        #expect(try await second.complete(prompt) == expected)
        let after = tunnel.head.counters
        // All but those that ask for the memory, and the lasting one.
        let connected = after.connectedSessionCount - before.connectedSessionCount
        #expect(connected < after.sessionCount - before.sessionCount)
        #expect(after.commands[.deviceCount]?.count == 2)
        #expect(after.answeredLocally[.deviceCount] == 1)
        await tunnel.close()
    }

    @Test("when the rpc-server dies, llama-server's connection ends and the reason is known", .timeLimit(.minutes(5)))
    func serverDies() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.testModel("llama")
        let server = try await LlamaProgram.rpcServer(in: folder.url)
        defer { server.stop() }
        let tunnel = try await Tunnel.start(to: server.port, model: model, files: [model])
        let llama = try await LlamaProgram.server(model: model, rpc: [tunnel.head.port], in: folder.url)
        defer { llama.stop() }
        server.stop()
        try await eventually("the sessions end") { tunnel.head.counters.openSessionCount == 0 }
        // With or without a reset: it may die with bytes that it did not read.
        for counters in [tunnel.head.counters, tunnel.worker.counters] {
            let reason = counters.lastError ?? "none"
            #expect(reason.hasPrefix("the rpc-server closed the connection"), "\(reason)")
        }
        await tunnel.close()
    }

    /// Prints the times that docs/rpc.md quotes; they are not asserted.
    @Test("loading over a slow link takes a fraction of the stock time", .timeLimit(.minutes(3)))
    func slowLink() async throws {
        let folder = try TestFolder()
        let model = try TestFiles.referenceModel()
        let shape = EmulatedLink.Shape.megabytes(15, delay: .milliseconds(5))
        let clock = ContinuousClock()
        let stockServer = try await LlamaProgram.rpcServer(in: folder.url)
        defer { stockServer.stop() }
        let link = try await EmulatedLink.start(to: stockServer.port, shape, eventLoop: Tunnel.group.any())
        var begin = clock.now
        let stock = try await LlamaProgram.server(model: model, rpc: [link.port], in: folder.url)
        let stockTime = clock.now - begin
        let expected = try await stock.complete(prompt, tokenCount: 8)
        stock.stop()
        let stockByteCount = link.byteCount
        await link.close()
        let server = try await LlamaProgram.rpcServer(in: folder.url)
        defer { server.stop() }
        let tunnel = try await Tunnel.start(to: server.port, model: model, files: [model], shape)
        begin = clock.now
        let llama = try await LlamaProgram.server(model: model, rpc: [tunnel.head.port], in: folder.url)
        let time = clock.now - begin
        defer { llama.stop() }
        #expect(try await llama.complete(prompt, tokenCount: 8) == expected)
        #expect(tunnel.link.byteCount < stockByteCount / 10)
        print(
            "15 MB/s, 5 ms each way: stock \(stockTime), \(stockByteCount) bytes; through the tunnel \(time), "
                + "\(tunnel.link.byteCount) bytes")
        await tunnel.close()
    }

    // MARK: What the tests share

    private func directAnswer(_ model: String, in folder: URL) async throws -> String {
        let server = try await LlamaProgram.rpcServer(in: folder)
        defer { server.stop() }
        let llama = try await LlamaProgram.server(model: model, rpc: [server.port], in: folder)
        defer { llama.stop() }
        return try await llama.complete(prompt)
    }

    /// The text, what the head's end counted, and the bytes on the middle connection.
    private func carried(
        _ model: String, files: [String], cache: PieceCache? = nil, in folder: URL
    ) async throws -> (text: String, counters: TunnelCounters, linkByteCount: Int) {
        let server = try await LlamaProgram.rpcServer(in: folder)
        defer { server.stop() }
        let tunnel = try await Tunnel.start(to: server.port, model: model, files: files, cache: cache)
        let llama = try await LlamaProgram.server(model: model, rpc: [tunnel.head.port], in: folder)
        defer { llama.stop() }
        let text = try await llama.complete(prompt)
        let counters = tunnel.head.counters
        let byteCount = tunnel.link.byteCount
        #expect(tunnel.worker.counters.weights.fromFileByteCount == counters.weights.fromFileByteCount)
        #expect(tunnel.worker.counters.weights.sentByteCount == counters.weights.sentByteCount)
        llama.stop()
        try await eventually("the sessions end") { tunnel.worker.counters.openSessionCount == 0 }
        await tunnel.close()
        return (text, counters, byteCount)
    }

    /// Copies a model with one byte of one tensor changed; returns that tensor's size.
    private static func copy(_ model: String, to path: String, changing name: String) throws -> Int {
        let header = try GGUFHeader.read(FileBytes(path: model), fileName: model)
        let tensor = try #require(header.tensors.first { $0.name == name })
        var bytes = try Data(contentsOf: URL(filePath: model))
        bytes[tensor.fileOffset + tensor.byteCount / 2] ^= 1
        try bytes.write(to: URL(filePath: path))
        return tensor.byteCount
    }
}
