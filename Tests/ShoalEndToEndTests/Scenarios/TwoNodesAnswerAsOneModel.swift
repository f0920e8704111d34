import Foundation
import ShoalCore
import Testing

@Suite("Two nodes answer as one model", .serialized)
struct TwoNodesAnswerAsOneModel {
    @Test("the capital of France comes through two halves, from either node, and no weights cross the network")
    func answersThroughTwoHalves() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            #expect(loaded.stages.map(\.layers.description) == ["0-14", "15-29"])
            for node in cluster.nodes {
                let (status, answer) = try await cluster.chat("What is the capital of France?", on: node)
                #expect(status == 200, "\(answer.text)")
                let text = answer.string(["choices", 0, "message", "content"]) ?? ""
                #expect(text.contains("Paris"), "node \(node.name) said: \(text)")
            }
            try await expectOnlyActivationsCrossed(loaded.id, cluster)
        }
    }

    /// Weights on the wire are zero, and the boundary carries a row of 576 floats per token.
    private func expectOnlyActivationsCrossed(_ id: InstanceID, _ cluster: ClusterFixture) async throws {
        try await eventually("the stages have reported the boundary") {
            try await cluster.instance(id, from: cluster.nodes[0]).stages[0].boundaryTokenCount > 40
        }
        let stages = try await cluster.instance(id, from: cluster.nodes[0]).stages
        #expect(stages.map(\.weightBytesReceived) == [.zero, .zero])
        let perToken = Double(stages[0].boundaryBytesSent.rawValue) / Double(stages[0].boundaryTokenCount)
        #expect(abs(perToken - 576 * 4) < 576 * 4 * 0.1, "\(perToken) bytes per token")
        #expect(stages[1].boundaryTokenCount == 0)
        // What the last stage does shows as well, though it hands nothing on.
        #expect(stages.allSatisfy { ($0.computedTokenCount ?? 0) > 40 && ($0.computeSeconds ?? 0) > 0 })
    }

    @Test("three nodes that know one peer find each other, and each reads and holds its share only")
    func threeStages() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let fileBytes = try FileManager.default.attributesOfItem(atPath: model.path)[.size] as? Int ?? 0
        try await ClusterFixture.with(nodeCount: 3) { cluster in
            let loaded = try await cluster.load(model, layers: "b=0-9,c=10-19,a=20-29", on: cluster.nodes[1])
            let (status, answer) = try await cluster.chat("What is the capital of France?", on: cluster.nodes[2])
            #expect(status == 200)
            #expect(answer.string(["choices", 0, "message", "content"])?.contains("Paris") == true, "\(answer.text)")
            let middle = try #require(loaded.stages.first { $0.nodeName == "c" })
            let read = try #require(middle.bytesReadFromDisk).rawValue
            #expect(read < fileBytes / 3, "a third of the layers read \(read) of \(fileBytes) bytes")
            #expect(read >= middle.weightBytes.rawValue * 9 / 10)
        }
    }

    @Test("members find each other with nothing typed, and answer")
    func nothingTyped() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 3, namesPeers: false) { cluster in
            _ = try await cluster.load(model, layers: "c=0-14,a=15-29", on: cluster.nodes[1])
            let (status, answer) = try await cluster.chat("What is the capital of France?", on: cluster.nodes[2])
            #expect(status == 200)
            #expect(answer.string(["choices", 0, "message", "content"])?.contains("Paris") == true, "\(answer.text)")
        }
    }

    @Test("the planner keeps a model that fits on one node, and says why")
    func solo() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.load(model, layers: nil, on: cluster.nodes[0])
            #expect(loaded.stages.count == 1)
            let (status, answer) = try await cluster.chat("What is the capital of France?", on: cluster.nodes[1])
            #expect(status == 200)
            #expect(answer.string(["choices", 0, "message", "content"])?.contains("Paris") == true, "\(answer.text)")
        }
    }

    @Test("the official OpenAI client lists, chats, streams, and gets its errors, through the node without the head")
    func officialClient() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let python = try TestFiles.require(TestFiles.python)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            _ = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .appending(path: "clients/openai_client.py")
            let (status, output) = try await run(
                python, [script.path, "http://\(cluster.nodes[0].api)/v1", TestFiles.referenceName])
            #expect(status == 0, "\(output)")
            #expect(output.contains("ok "), "\(output)")
            #expect(!output.contains("FAILED"), "\(output)")
        }
    }
}

/// Runs a program to its end and returns its status and output.
func run(_ program: URL, _ arguments: [String]) async throws -> (status: Int32, output: String) {
    let file = FileManager.default.temporaryDirectory.appending(path: "shoal-output-\(UUID().uuidString)")
    try Data().write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    let handle = try FileHandle(forWritingTo: file)
    process.standardOutput = handle
    process.standardError = handle
    process.standardInput = FileHandle.nullDevice
    try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
        process.terminationHandler = { _ in done.resume() }
        do { try process.run() } catch { done.resume(throwing: error) }
    }
    return (process.terminationStatus, try String(contentsOf: file, encoding: .utf8))
}
