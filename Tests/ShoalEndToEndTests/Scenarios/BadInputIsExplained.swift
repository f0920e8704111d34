import Foundation
import ShoalCore
import Testing

@Suite("Bad input is explained and harms nobody", .serialized)
struct BadInputIsExplained {
    @Test("files that cannot be models are refused with a sentence, and the nodes go on")
    func badFiles() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let unsupported = try TestFiles.require(TestFiles.models.appending(path: "gpt2-unsupported.gguf"))
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let whole = try FileHandle(forReadingFrom: model)
            let head = try #require(try whole.read(upToCount: 3 << 20))
            let file = { (name: String, bytes: Data) throws -> URL in
                let url = cluster.directory.appending(path: name)
                try bytes.write(to: url)
                return url
            }
            let cases: [(URL, String)] = [
                (cluster.directory.appending(path: "missing.gguf"), "missing.gguf"),
                (try file("empty.gguf", Data()), "empty"),
                (try file("truncated-header.gguf", head.prefix(1000)), "truncated-header.gguf"),
                (try file("truncated-data.gguf", head), "truncated-data.gguf"),
                (try file("text.gguf", Data("This is not a model, it is a sentence.".utf8)), "GGUF"),
                (unsupported, "gpt2"),
            ]
            for (path, word) in cases {
                let message = try await refusal(of: path, layers: "a=0-14,b=15-29", cluster)
                #expect(message.contains(word), "\(path.lastPathComponent): \(message)")
            }
            try await expectStillWorking(cluster, model)
        }
    }

    @Test(
        "placements that overlap, leave a gap, or name nobody are refused",
        arguments: [
            ("a=0-15,b=15-29", "15"), ("a=0-13,b=15-29", "14"), ("a=0-14,b=15-28", "29"), ("a=0-14,z=15-29", "z"),
            ("a=0-14,b=15-40", "40"),
        ])
    func badPlacements(layers: String, word: String) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let message = try await refusal(of: model, layers: layers, cluster)
            #expect(message.contains(word), "\(message)")
            #expect(cluster.allNodesRun)
        }
    }

    @Test("bad requests get OpenAI-shaped errors, unknown fields do not matter, and the model goes on")
    func badRequests() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            _ = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            let node = cluster.nodes[0]
            let name = TestFiles.referenceName
            let long = String(repeating: "word ", count: 3000)
            let hello = #"[{"role":"user","content":"Hi"}]"#
            let cases: [(String, Int, String)] = [
                ("{not json", 400, "invalid_request_error"),
                (#"{"model":"nope","messages":\#(hello)}"#, 404, "model_not_found"),
                (#"{"model":"\#(name)","messages":"Hi"}"#, 400, "messages"),
                (#"{"model":"\#(name)","messages":[{"role":"user","content":"\#(long)"}]}"#, 400, "context"),
                (
                    #"{"model":"\#(name)","messages":\#(hello),"max_tokens":3,"brand_new_field":{"a":[1]}}"#, 200,
                    "choices"
                ),
            ]
            for (body, expected, word) in cases {
                let (status, answer) = try await cluster.send(.POST, "/v1/chat/completions", to: node, body: body)
                let text = String(decoding: answer, as: UTF8.self)
                #expect(status == expected, "\(body.prefix(80)): \(text)")
                #expect(text.contains(word), "\(body.prefix(80)): \(text)")
            }
            let (status, _) = try await cluster.chat("What is the capital of France?", on: node)
            #expect(status == 200)
        }
    }

    @Test(
        "a body of ten megabytes is refused with 413, also when its length is not announced", arguments: [true, false])
    func hugeBody(lengthIsAnnounced: Bool) async throws {
        try await ClusterFixture.with(nodeCount: 1) { cluster in
            let file = cluster.directory.appending(path: "huge.json")
            let content = String(repeating: "x", count: 10 << 20)
            try Data(#"{"model":"m","messages":[{"role":"user","content":"\#(content)"}]}"#.utf8).write(to: file)
            // curl, because it reads the answer of a server that refuses the rest of a body.
            let (_, output) = try await run(
                URL(filePath: "/usr/bin/curl"),
                ["--silent", "--include", "--data-binary", "@\(file.path)"]
                    + (lengthIsAnnounced ? [] : ["--header", "Transfer-Encoding: chunked"])
                    + ["http://\(cluster.nodes[0].api)/v1/chat/completions"])
            #expect(output.contains("413"), "\(output)")
            #expect(output.contains(#""error""#), "\(output)")
            #expect(cluster.allNodesRun)
        }
    }

    @Test("a node says which address is in use, and keeps trying a peer that is not there")
    func addresses() async throws {
        try await ClusterFixture.with(nodeCount: 1) { cluster in
            let first = cluster.nodes[0]
            let ports = try freePorts(2)
            let apiTaken = try NodeProcess(
                name: "x", api: first.api, link: "127.0.0.1:\(ports[0])",
                directory: cluster.directory.appending(path: "x"))
            #expect(try await apiTaken.waitForExit() != 0)
            #expect(apiTaken.log.contains(first.api), "\(apiTaken.log)")
            let linkTaken = try NodeProcess(
                name: "y", api: "127.0.0.1:\(ports[0])", link: first.link,
                directory: cluster.directory.appending(path: "y"))
            #expect(try await linkTaken.waitForExit() != 0)
            #expect(linkTaken.log.contains(first.link), "\(linkTaken.log)")
            let lonely = try NodeProcess(
                name: "z", api: "127.0.0.1:\(ports[0])", link: "127.0.0.1:0",
                directory: cluster.directory.appending(path: "z"), arguments: ["--peer", "127.0.0.1:\(ports[1])"])
            defer { lonely.signal(SIGKILL) }
            try await eventually("node z reports the peer as unreachable") {
                let found: [NodeReport]? = try? await cluster.get("/shoal/v1/nodes", from: lonely)
                return found?.contains { $0.reachability == .unreachable && $0.problem?.contains("refused") == true }
                    ?? false
            }
            await lonely.stop()
        }
    }

    /// What the cluster says when it is asked to load something it must refuse, at once or while loading.
    private func refusal(of model: URL, layers: String, _ cluster: ClusterFixture) async throws -> String {
        do {
            let report = try await cluster.load(model, layers: layers, on: cluster.nodes[0])
            throw TestFailure("\(model.lastPathComponent) with \(layers) was loaded as \(report.id)")
        } catch let failure as TestFailure {
            return failure.description
        }
    }

    private func expectStillWorking(_ cluster: ClusterFixture, _ model: URL) async throws {
        #expect(cluster.allNodesRun)
        _ = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
        let (status, _) = try await cluster.chat("What is the capital of France?", on: cluster.nodes[0])
        #expect(status == 200)
    }
}
