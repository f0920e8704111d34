import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import ShoalCore

/// Instances of llama.cpp's own programs on a cluster of real nodes.
extension ClusterFixture {
    /// Loads a model with the rpc engine and waits until it answers.
    func loadStock(
        _ model: URL, layers: String?, on node: NodeProcess, options: RPCOptions? = nil, contextTokenCount: Int = 512
    ) async throws -> InstanceReport {
        let id = try await beginStock(
            model, layers: layers, on: node, options: options, contextTokenCount: contextTokenCount)
        return try await readyStock(id, on: node)
    }

    /// Loads a model and returns at once.
    func beginStock(
        _ model: URL, layers: String?, on node: NodeProcess, options: RPCOptions? = nil, contextTokenCount: Int = 512
    ) async throws -> InstanceID {
        var request = LoadRequest(
            model: model.path, layers: try layers.map { try LoadRequest.assignments(parsing: $0) } ?? [],
            contextTokenCount: contextTokenCount, sequenceCountMax: 2)
        request.engine = .rpc
        request.rpc = options
        let body = String(decoding: try JSONEncoder().encode(request), as: UTF8.self)
        let (status, answer) = try await send(.POST, "/shoal/v1/instances", to: node, body: body)
        guard (200..<300).contains(status) else {
            throw TestFailure("load answered \(status): \(String(decoding: answer, as: UTF8.self))")
        }
        return try JSONDecoder().decode(InstanceReport.self, from: answer).id
    }

    /// Waits until the instance is ready, in a later generation than `generation` if that is given.
    @discardableResult
    func readyStock(
        _ id: InstanceID, on node: NodeProcess, after generation: UInt32 = 0
    ) async throws -> InstanceReport {
        try await eventually("instance \(id) is ready") {
            let report = try await self.instance(id, from: node)
            if report.phase == .failed { throw TestFailure("instance failed: \(report.problem ?? "?")") }
            return report.phase == .ready && report.generation > generation
        }
        return try await instance(id, from: node)
    }

    /// Greedy text from any node.
    func complete(
        _ prompt: String, on node: NodeProcess, maxTokens: Int = 24, model: String = TestFiles.referenceName,
        isCached: Bool = true
    ) async throws -> (status: Int, text: String, body: String) {
        let body = JSONObject([
            "model": model, "prompt": prompt, "temperature": 0, "max_tokens": maxTokens, "cache_prompt": isCached,
        ])
        let (status, data) = try await send(.POST, "/v1/completions", to: node, body: body.text)
        let json = try JSONObject(data)
        return (status, json.string(["choices", 0, "text"]) ?? "", json.text)
    }

    /// A streamed greedy answer's lines, until its end or until the connection breaks.
    func streamLines(
        _ prompt: String, on node: NodeProcess, maxTokens: Int, onLine: (Int) async throws -> Void = { _ in }
    ) async throws -> [String] {
        var request = HTTPClientRequest(url: "http://\(node.api)/v1/completions")
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        request.body = .bytes(
            ByteBuffer(
                string: JSONObject([
                    "model": TestFiles.referenceName, "prompt": prompt, "temperature": 0, "max_tokens": maxTokens,
                    "stream": true,
                ]).text))
        let response = try await HTTPClient.patient.execute(request, timeout: .minutes(5))
        var text = ""
        var seen = 0
        for try await part in response.body {
            text += String(buffer: part)
            let count = text.split(separator: "\n").count
            if count > seen { try await onLine(count) }
            seen = count
        }
        return text.split(separator: "\n").map(String.init)
    }

    /// Processes of a stage: the worker's, or llama-server's where the head computes it.
    func process(_ id: InstanceID, stage: Int, from node: NodeProcess) async throws -> Int32 {
        guard let found = try await instance(id, from: node).stages[stage].engineProcessID else {
            throw TestFailure("stage \(stage) has no process")
        }
        return found
    }

    /// llama-server of an instance, from the log report of its head.
    func serverProcess(_ id: InstanceID, from node: NodeProcess) async throws -> Int32 {
        let logs: [EngineLogReport] = try await get("/shoal/v1/logs/\(id)", from: node)
        guard let server = logs.first(where: { $0.program == "llama-server" })?.processID else {
            throw TestFailure("no llama-server runs")
        }
        return server
    }
}
