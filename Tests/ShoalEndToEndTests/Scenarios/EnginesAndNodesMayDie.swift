import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import ShoalCore
import Testing

@Suite("Engines and nodes may die", .serialized)
struct EnginesAndNodesMayDie {
    @Test(
        "an answer outlives kill -9 of an engine: same text as without, no error; the next request works",
        arguments: [0, 1])
    func killedEngine(stageIndex: Int) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            let question = "Tell me a very long story."
            let whole = try await TokenStream.open(question, on: cluster.nodes[0], maxTokens: 120)
            let expected = try await whole.lines.reduce(into: []) { $0.append($1) }
            let stream = try await TokenStream.open(question, on: cluster.nodes[0], maxTokens: 120)
            var lines = stream.lines.makeAsyncIterator()
            var received: [String] = []
            while received.count < 20, let line = try await lines.next() { received.append(line) }
            let engine = try await enginePID(loaded.id, stageIndex, cluster)
            kill(engine, SIGKILL)
            while let line = try await lines.next() { received.append(line) }
            #expect(!received.joined().contains("\"error\""), "\(received.last ?? "")")
            #expect(TokenStream.text(of: received) == TokenStream.text(of: expected))
            #expect(received.last == "data: [DONE]")
            #expect(cluster.allNodesRun)
            let report = try await cluster.instance(loaded.id, from: cluster.nodes[0])
            #expect(report.stages[stageIndex].restartCount == 1)
            try await eventually("the resumed answer is counted") {
                try await cluster.instance(loaded.id, from: cluster.nodes[0]).counters.resumedRequestCount == 1
            }
            let (status, answer) = try await cluster.chat("What is the capital of France?", on: cluster.nodes[0])
            #expect(status == 200)
            #expect(answer.string(["choices", 0, "message", "content"])?.contains("Paris") == true, "\(answer.text)")
            let again = try await enginePID(loaded.id, stageIndex, cluster)
            #expect(again != engine)
            let phases = try await cluster.instance(loaded.id, from: cluster.nodes[0]).phases.map(\.phase)
            #expect(phases.starts(with: [.placing, .starting, .loading, .warming, .ready, .recovering]), "\(phases)")
            try await expectLogs(loaded.id, cluster)
        }
    }

    /// Any node tells how every engine was started, in a form that a shell takes.
    private func expectLogs(_ id: InstanceID, _ cluster: ClusterFixture) async throws {
        let logs: [EngineLogReport] = try await cluster.get("/shoal/v1/logs/\(id)", from: cluster.nodes[0])
        #expect(logs.map(\.stageIndex) == [0, 1])
        for log in logs {
            let command = try #require(log.launch?.shellCommand)
            let (status, _) = try await run(URL(filePath: "/bin/sh"), ["-c", "\(command) </dev/null"])
            #expect(status == 0, "an engine that nobody talks to ends at once: \(command)")
        }
    }

    @Test("while an instance recovers, requests get 503 with the cause")
    func recoveringInstanceAnswers503() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            cluster.nodes[0].signal(SIGKILL)
            _ = try await cluster.nodes[0].waitForExit()
            try await eventually("the head noticed") {
                try await cluster.instance(loaded.id, from: cluster.nodes[1]).phase != .ready
            }
            let (status, answer) = try await cluster.chat("Hello?", on: cluster.nodes[1])
            #expect(status == 503)
            #expect(answer.string(["error", "message"])?.contains("node a") == true, "\(answer.text)")
        }
    }

    @Test("a client that leaves frees its sequence in every stage")
    func leavingClient() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            do {
                let stream = try await TokenStream.open("Count from one to one thousand.", on: cluster.nodes[0])
                var lines = stream.lines.makeAsyncIterator()
                for _ in 0..<6 { _ = try await lines.next() }
                try await eventually("both stages hold the sequence") {
                    try await cluster.instance(loaded.id, from: cluster.nodes[0]).stages
                        .allSatisfy { !$0.sequencesInUse.isEmpty }
                }
                stream.leave()
            }
            try await eventually("no stage holds a sequence") {
                let report = try await cluster.instance(loaded.id, from: cluster.nodes[0])
                return report.runningRequestCount == 0 && report.stages.allSatisfy { $0.sequencesInUse.isEmpty }
            }
        }
    }

    @Test("no engine outlives shoal stop, SIGTERM or SIGKILL of its node", arguments: ["stop", "SIGTERM", "SIGKILL"])
    func noOrphans(how: String) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            let engines = [try await enginePID(loaded.id, 0, cluster), try await enginePID(loaded.id, 1, cluster)]
            switch how {
            case "stop":
                let (status, _) = try await cluster.send(
                    .DELETE, "/shoal/v1/instances/\(loaded.id)", to: cluster.nodes[0])
                #expect((200..<300).contains(status))
            case "SIGTERM": for node in cluster.nodes { node.signal(SIGTERM) }
            default: for node in cluster.nodes { node.signal(SIGKILL) }
            }
            try await eventually("engines \(engines) are gone") { engines.allSatisfy { !isAlive($0) } }
            if how == "SIGTERM" {
                for node in cluster.nodes {
                    let status = try await node.waitForExit()
                    #expect(status == 0, "\(node.log)")
                }
            }
        }
    }

    private func enginePID(_ id: InstanceID, _ stage: Int, _ cluster: ClusterFixture) async throws -> Int32 {
        var found: Int32?
        try await eventually("stage \(stage) reports its engine") {
            found = try await cluster.instance(id, from: cluster.nodes[0]).stages[stage].engineProcessID
            return found.map(isAlive) ?? false
        }
        return try #require(found)
    }

    /// Zombies do not count: they hold nothing and wait for their parent only.
    private func isAlive(_ process: Int32) -> Bool {
        guard let stat = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return false }
        return stat.split(separator: ")").last?.split(separator: " ").first != "Z"
    }
}

/// One streamed chat answer, line by line.
final class TokenStream: Sendable {
    let lines: AsyncThrowingStream<String, any Error>
    private let reader: Task<Void, Never>

    private init(lines: AsyncThrowingStream<String, any Error>, reader: Task<Void, Never>) {
        self.lines = lines
        self.reader = reader
    }

    /// The answer in a stream's lines.
    static func text(of lines: [String]) -> String {
        lines.compactMap { line in
            guard line.hasPrefix("data: {"), let chunk = try? JSONObject(Data(line.dropFirst(6).utf8)) else {
                return nil
            }
            return chunk.string(["choices", 0, "delta", "content"])
        }.joined()
    }

    static func open(
        _ question: String, on node: NodeProcess, maxTokens: Int = 800
    ) async throws -> TokenStream {
        var request = HTTPClientRequest(url: "http://\(node.api)/v1/chat/completions")
        request.method = .POST
        let body = JSONObject([
            "model": TestFiles.referenceName, "temperature": 0, "max_tokens": maxTokens, "stream": true,
            "messages": [["role": "user", "content": question]],
        ])
        request.body = .bytes(ByteBuffer(string: body.text))
        let response = try await HTTPClient.patient.execute(request, timeout: .minutes(5))
        guard response.status == .ok else { throw TestFailure("the stream answered \(response.status)") }
        let (lines, continuation) = AsyncThrowingStream.makeStream(of: String.self)
        // Cancelled by `leave`, which closes the connection as a leaving client does.
        let reader = Task {
            var pending = ""
            do {
                for try await chunk in response.body {
                    pending += String(buffer: chunk)
                    while let end = pending.firstIndex(of: "\n") {
                        let line = String(pending[..<end])
                        pending = String(pending[pending.index(after: end)...])
                        if !line.isEmpty { continuation.yield(line) }
                    }
                }
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
        return TokenStream(lines: lines, reader: reader)
    }

    func leave() { reader.cancel() }
}
