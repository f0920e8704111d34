import Foundation
import ShoalCore
import Testing

/// Three nodes on one machine that do not see each other's model files: each looks in its working folder.
@Suite("Stock programs read their own files", .serialized)
struct StockProgramsReadTheirOwnFiles {
    private static let folder = "/proc/self/cwd"
    private static let layers = "a=0-9,b=10-19,c=20-29"
    private static let name = "model.gguf"
    /// Of the pinned reference model. A tensor of less than 1 MiB travels as a whole.
    private static let changedOffset = 75_364_900
    private static let changedTensorByteCount = 552_960

    @Test(
        "of two workers only the one without the file receives weights, once: the next load finds them in its cache",
        .enabled(if: FileManager.default.fileExists(atPath: folder), "Linux has it"))
    func fileRemoved() async throws {
        try await withNodes(thirdFile: nil) { cluster, a in
            let first = try await load(cluster, a)
            let (b, c) = (first.stages[1].worker, first.stages[2].worker)
            #expect(b?.weightBytesSent == .zero && (b?.weightBytesReferenced ?? .zero) > .zero)
            #expect((c?.weightBytesSent ?? .zero) > ByteCount(10 << 20))
            #expect(c?.weightBytesReferenced == .zero)
            let text = try await answer(cluster, a)
            _ = try await cluster.send(.DELETE, "/shoal/v1/instances/\(first.id)", to: a)
            let second = try await load(cluster, a)
            #expect(second.stages.allSatisfy { $0.weightBytesReceived == .zero })
            #expect(second.stages[2].worker?.weightBytesReferenced == c?.weightBytesSent)
            #expect(try await answer(cluster, a) == text)
        }
    }

    @Test(
        "of a worker whose file differs in one byte of one tensor only a piece of that tensor is sent",
        .enabled(if: FileManager.default.fileExists(atPath: folder), "Linux has it"))
    func oneByteDiffers() async throws {
        var bytes = try Data(contentsOf: TestFiles.require(TestFiles.referenceModel))
        // In blk.26.ffn_up.weight, at a place by which files are told apart at a glance.
        bytes[Self.changedOffset] ^= 1
        try await withNodes(thirdFile: bytes) { cluster, a in
            let loaded = try await load(cluster, a)
            let (b, c) = (loaded.stages[1].worker, loaded.stages[2].worker)
            #expect(b?.weightBytesSent == .zero && (b?.weightBytesReferenced ?? .zero) > .zero)
            let sent = c?.weightBytesSent ?? .zero
            #expect(sent == ByteCount(Self.changedTensorByteCount))
            #expect((c?.weightBytesReferenced ?? .zero) > ByteCount(10 << 20))
            #expect(try await answer(cluster, a).contains("Paris"))
        }
    }

    // MARK: What the tests share

    private func load(_ cluster: ClusterFixture, _ node: NodeProcess) async throws -> InstanceReport {
        try await cluster.loadStock(
            URL(filePath: "\(Self.folder)/\(Self.name)"), layers: Self.layers, on: node)
    }

    private func answer(_ cluster: ClusterFixture, _ node: NodeProcess) async throws -> String {
        let (status, text, body) = try await cluster.complete("The capital of France is", on: node, model: "model")
        #expect(status == 200, "\(body)")
        return text
    }

    private func withNodes(
        thirdFile: Data?, _ body: (ClusterFixture, NodeProcess) async throws -> Void
    ) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let key = ClusterFixture.randomClusterKey()
        try await ClusterFixture.with(nodeCount: 0) { cluster in
            func with(_ name: String, peer: NodeProcess?, _ body: (NodeProcess) async throws -> Void) async throws {
                let folder = cluster.directory.appending(path: name)
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                let file = folder.appending(path: Self.name)
                if name != "c" { try FileManager.default.createSymbolicLink(at: file, withDestinationURL: model) }
                if name == "c" { try thirdFile?.write(to: file) }
                let peers = peer.map { ["--peer", $0.link] } ?? []
                try await cluster.withNode(
                    name, arguments: ["--cluster-key", key] + peers, wrapper: ["env", "-C", folder.path], body)
            }
            try await with("a", peer: nil) { a in
                try await with("b", peer: a) { _ in
                    try await with("c", peer: a) { _ in
                        try await cluster.waitUntil(a, sees: 3)
                        try await body(cluster, a)
                    }
                }
            }
        }
    }
}
