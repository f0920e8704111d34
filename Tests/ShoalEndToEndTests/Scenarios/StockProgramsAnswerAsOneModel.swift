import Foundation
import ShoalCore
import ShoalTesting
import Testing

@Suite("Stock programs answer as one model", .serialized)
struct StockProgramsAnswerAsOneModel {
    private static let prompts = ["The capital of France is", "Once upon a time"]

    @Test("one, two and three workers give the text of llama-server alone, and no weights cross the network")
    func sameText() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 4) { cluster in
            var expected: [String] = []
            for layers in ["a=0-29", "a=0-14,b=15-29", "a=0-9,b=10-19,c=20-29", "a=0-6,b=7-14,c=15-22,d=23-29"] {
                let loaded = try await cluster.loadStock(model, layers: layers, on: cluster.nodes[0])
                #expect(loaded.engine == .rpc)
                var texts: [String] = []
                for prompt in Self.prompts {
                    let (status, text, body) = try await cluster.complete(prompt, on: cluster.nodes[3])
                    #expect(status == 200, "\(body)")
                    texts.append(text)
                }
                if expected.isEmpty { expected = texts }
                #expect(texts == expected, "split \(layers)")
                #expect(texts[0].contains("Paris"))
                try await expectEveryDeviceWorked(loaded.id, cluster)
                try await expectPlannedBuffers(model, layers: layers, loaded.id, cluster)
                _ = try await cluster.send(.DELETE, "/shoal/v1/instances/\(loaded.id)", to: cluster.nodes[0])
            }
        }
    }

    /// What llama-server allocated on each worker is what the plan said, within 5 %; and every process is listed.
    private func expectPlannedBuffers(
        _ model: URL, layers: String, _ id: InstanceID, _ cluster: ClusterFixture
    ) async throws {
        var request = LoadRequest(
            model: model.path, layers: try LoadRequest.assignments(parsing: layers), contextTokenCount: 512,
            sequenceCountMax: 2)
        request.engine = .rpc
        let body = String(decoding: try JSONEncoder().encode(request), as: UTF8.self)
        let (status, answer) = try await cluster.send(.POST, "/shoal/v1/plan", to: cluster.nodes[0], body: body)
        #expect(status == 200)
        let plan = try JSONDecoder().decode(PlanReport.self, from: answer)
        let report = try await cluster.instance(id, from: cluster.nodes[0])
        #expect(report.serverProcessID != nil)
        #expect(plan.stages.map(\.layers) == report.stages.map(\.layers))
        for (planned, stage) in zip(plan.stages, report.stages) {
            #expect(stage.engineProcessID != nil)
            guard let worker = stage.worker, let buffer = worker.modelBufferBytes else { continue }
            let ratio = Double(buffer.rawValue) / Double(planned.weightBytes.rawValue)
            #expect((0.95...1.05).contains(ratio), "\(stage.nodeName) \(stage.layers): \(ratio)")
            let cache = try #require(worker.kvBufferBytes)
            let compute = try #require(worker.computeBufferBytes)
            #expect(buffer.rawValue + cache.rawValue + compute.rawValue <= planned.neededBytes.rawValue)
        }
    }

    /// Every worker holds its share of the model, computed, and got no weights over the network.
    private func expectEveryDeviceWorked(_ id: InstanceID, _ cluster: ClusterFixture) async throws {
        let stages = try await cluster.instance(id, from: cluster.nodes[0]).stages
        for stage in stages {
            #expect(stage.weightBytes > .zero)
            guard let worker = stage.worker else { continue }
            #expect(worker.protocolVersion == "7.0.0")
            #expect((worker.modelBufferBytes ?? .zero) > .zero)
            #expect((worker.graphCount ?? 0) > 0)
            #expect(worker.bytesToWorker > .zero && worker.bytesFromWorker > .zero)
            #expect(stage.weightBytesReceived == .zero)
            #expect(!worker.isForeign)
        }
    }

    @Test("phases come in order, the recorded commands run, and logs of every child are there")
    func launchIsVisible() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.loadStock(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            #expect(
                loaded.phases.map(\.phase)
                    == [.placing, .starting, .verifying, .launching, .handshaking, .loading, .warming, .ready])
            #expect(loaded.phases.dropLast().allSatisfy { $0.endSeconds != nil })
            let logs: [EngineLogReport] = try await cluster.get("/shoal/v1/logs/\(loaded.id)", from: cluster.nodes[1])
            #expect(Set(logs.compactMap(\.program)) == ["llama-server", "ggml-rpc-server"])
            #expect(logs.allSatisfy { !$0.lines.isEmpty })
            let server = try #require(logs.first { $0.program == "llama-server" }?.launch)
            #expect(server.command.contains("--tensor-split"))
            #expect(!server.environment.keys.contains { $0.hasPrefix("LLAMA_ARG_") })
            #expect(try await cluster.complete("Hi", on: cluster.nodes[0]).status == 200)
        }
    }

    @Test("the recorded command of llama-server starts the same thing in a shell")
    func recordedCommand() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 1) { cluster in
            // Without workers: they have ears for one llama-server only, and a second one would wait for ever.
            let loaded = try await cluster.loadStock(model, layers: nil, on: cluster.nodes[0])
            let logs: [EngineLogReport] = try await cluster.get("/shoal/v1/logs/\(loaded.id)", from: cluster.nodes[0])
            let command = try #require(logs.first?.launch?.shellCommand)
            let (_, output) = try await run(URL(filePath: "/bin/sh"), ["-c", "\(command) </dev/null 2>&1"])
            // The same port, which is taken.
            #expect(output.contains("couldn't bind HTTP server socket"), "\(output)")
            #expect(try await cluster.complete("Hi", on: cluster.nodes[0]).status == 200)
        }
    }

    @Test("endpoints of llama-server work unchanged from any node, streamed or not, by model or by path")
    func proxy() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            _ = try await cluster.loadStock(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            for node in cluster.nodes {
                let (status, answer) = try await cluster.chat("What is the capital of France?", on: node)
                #expect(status == 200)
                #expect(answer.string(["choices", 0, "message", "content"])?.contains("Paris") == true)
                #expect(answer.string(["choices", 0, "finish_reason"]) == "stop")
                #expect(answer.at(["timings", "predicted_per_second"]) != nil)
                let lines = try await cluster.streamLines("Once upon a time", on: node, maxTokens: 8)
                #expect(lines.count >= 9)
                #expect(lines.last == "data: [DONE]")
            }
            let remote = cluster.nodes[1]
            let cases: [(ClusterFixture.HTTPMethodName, String, String?, String)] = [
                (.POST, "/tokenize", #"{"content":"hello world"}"#, "tokens"),
                (.POST, "/apply-template", #"{"messages":[{"role":"user","content":"Hi"}]}"#, "prompt"),
                (.POST, "/completion", #"{"prompt":"a","n_predict":1}"#, "content"),
                (
                    .POST, "/v1/responses",
                    #"{"model":"\#(TestFiles.referenceName)","input":"Hi","max_output_tokens":4}"#, "output"
                ),
                (
                    .POST, "/v1/messages",
                    #"{"model":"\#(TestFiles.referenceName)","max_tokens":4,"#
                        + #""messages":[{"role":"user","content":"Hi"}]}"#,
                    "content"
                ),
                (.GET, "/props", nil, "default_generation_settings"), (.GET, "/slots", nil, "n_ctx"),
                (.GET, "/shoal/v1/servers/\(TestFiles.referenceName)/health", nil, "ok"),
            ]
            for (method, path, body, expected) in cases {
                let (status, data) = try await cluster.send(method, path, to: remote, body: body)
                let text = String(decoding: data, as: UTF8.self)
                #expect(status == 200, "\(path): \(text)")
                #expect(text.contains(expected), "\(path): \(text)")
            }
            // llama-server's own refusals arrive as they are; the reference model has no infill tokens.
            let (infill, said) = try await cluster.send(
                .POST, "/infill", to: remote, body: #"{"input_prefix":"a","input_suffix":"b","n_predict":1}"#)
            #expect(infill == 501)
            #expect(String(decoding: said, as: UTF8.self).contains("Infill is not supported by this model"))
            let (status, _) = try await cluster.send(.POST, "/v1/embeddings", to: remote, body: #"{"input":"a"}"#)
            #expect(status == 501 || status == 400)
        }
    }

    @Test("a family that the stages engine does not know is loaded with the rpc engine, and the plan says so")
    func automaticChoice() async throws {
        let model = try TestFiles.require(TestFiles.models.appending(path: "gpt2-unsupported.gguf"))
        try await ClusterFixture.with(nodeCount: 1) { cluster in
            let body = String(decoding: try JSONEncoder().encode(LoadRequest(model: model.path)), as: UTF8.self)
            let (status, data) = try await cluster.send(.POST, "/shoal/v1/plan", to: cluster.nodes[0], body: body)
            #expect(status == 200, "\(String(decoding: data, as: UTF8.self))")
            let plan = try JSONDecoder().decode(PlanReport.self, from: data)
            #expect(plan.engine == .rpc)
            #expect(plan.reasons.contains { $0.contains("does not support the family") })
            let (loadStatus, answer) = try await cluster.send(
                .POST, "/shoal/v1/instances", to: cluster.nodes[0], body: body)
            #expect(loadStatus == 202)
            let id = try JSONDecoder().decode(InstanceReport.self, from: answer).id
            try await cluster.readyStock(id, on: cluster.nodes[0])
            let (completed, _, text) = try await cluster.complete(
                "a", on: cluster.nodes[0], maxTokens: 2, model: "gpt2-unsupported")
            #expect(completed == 200, "\(text)")
        }
    }

    @Test("a foreign worker takes part, is told apart in plan and report, and what listens without speaking is refused")
    func foreignWorker() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let ports = try freePorts(2)
        let foreign = try ForeignWorker(port: ports[0])
        defer { foreign.stop() }
        let silent = try SilentListener(port: ports[1])
        defer { silent.close() }
        let arguments = ["--rpc-worker", "127.0.0.1:\(ports[0])", "--rpc-worker", "127.0.0.1:\(ports[1])"]
        try await ClusterFixture.with(nodeCount: 1, arguments: arguments) { cluster in
            let node = cluster.nodes[0]
            try await eventually("the node tells of its workers") {
                node.log.contains("neither authenticated nor encrypted") && node.log.contains("did not answer")
            }
            let doctor: DoctorReport = try await cluster.get("/shoal/v1/doctor", from: node)
            let count = "1 of 2 foreign workers of a answer; missing: 127.0.0.1:\(ports[1])"
            #expect(doctor.checks.contains { $0.outcome == .failure && $0.finding.contains(count) }, "\(doctor.checks)")
            let loaded = try await cluster.loadStock(
                model, layers: "a=0-9,127.0.0.1:\(ports[0])=10-29", on: node)
            let worker = try #require(loaded.stages[1].worker)
            #expect(worker.isForeign)
            #expect(worker.address == "127.0.0.1:\(ports[0])")
            #expect((worker.modelBufferBytes ?? .zero) > .zero)
            let (status, text, _) = try await cluster.complete("The capital of France is", on: node)
            #expect(status == 200)
            #expect(text.contains("Paris"))
            await #expect(throws: TestFailure.self) {
                _ = try await cluster.beginStock(model, layers: "a=0-9,127.0.0.1:\(ports[1])=10-29", on: node)
            }
        }
    }

    @Test("nothing of an instance is left after stop, nor after the node is killed")
    func noOrphans() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.loadStock(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            let first = [
                try await cluster.serverProcess(loaded.id, from: cluster.nodes[0]),
                try await cluster.process(loaded.id, stage: 1, from: cluster.nodes[0]),
            ]
            _ = try await cluster.send(.DELETE, "/shoal/v1/instances/\(loaded.id)", to: cluster.nodes[1])
            try await eventually("the processes are gone") { first.allSatisfy { kill($0, 0) != 0 } }
            let again = try await cluster.loadStock(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            let second = [
                try await cluster.serverProcess(again.id, from: cluster.nodes[0]),
                try await cluster.process(again.id, stage: 1, from: cluster.nodes[0]),
            ]
            for node in cluster.nodes { node.signal(SIGKILL) }
            try await eventually("the children of killed nodes are gone") { second.allSatisfy { kill($0, 0) != 0 } }
        }
    }
}

/// A `ggml-rpc-server` that somebody else runs.
final class ForeignWorker {
    private let process = Process()
    private let end: ProcessEnd

    init(port: Int) throws {
        end = ProcessEnd(of: process)
        process.executableURL = try TestFiles.llamaProgram("ggml-rpc-server")
        process.arguments = ["-p", String(port)]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
    }

    func stop() { end.force() }
}

/// Listens on a port, accepts nothing, says nothing: a plain TCP connection to it succeeds.
final class SilentListener {
    private let descriptor: Int32

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        address.sin_port = UInt16(port).bigEndian
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0, listen(descriptor, 4) == 0 else { throw TestFailure("port \(port) is taken") }
    }

    func close() { _ = Glibc.close(descriptor) }
}

extension TestFiles {
    /// A program of the engine prefix that `make engine` built last.
    static func llamaProgram(_ name: String) throws -> URL {
        let engines = cache.appending(path: "engine")
        let found = try FileManager.default.contentsOfDirectory(at: engines, includingPropertiesForKeys: nil)
            .filter { FileManager.default.fileExists(atPath: $0.appending(path: "complete").path) }
        guard let prefix = found.first else { throw TestFailure("no engine prefix; run: make setup") }
        return try require(prefix.appending(path: "bin/\(name)"))
    }
}
