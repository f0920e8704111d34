import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import ShoalCore

/// Real nodes on loopback, each with its own data folder; stopped and cleaned up whatever happens.
final class ClusterFixture: Sendable {
    let nodes: [NodeProcess]
    let directory: URL
    /// What every node was started with.
    let arguments: [String]

    private init(nodes: [NodeProcess], directory: URL, arguments: [String]) {
        self.nodes = nodes
        self.directory = directory
        self.arguments = arguments
    }

    /// Starts nodes named a, b, ... where each later one has the first as its peer, and waits until all see all.
    static func with(
        nodeCount: Int, arguments: [String] = [], namesPeers: Bool = true, _ body: (ClusterFixture) async throws -> Void
    ) async throws {
        // Lets the nodes in without invites.
        try await with(
            nodeCount: nodeCount, arguments: arguments + ["--cluster-key", randomClusterKey()], namesPeers: namesPeers,
            seenCount: nodeCount, body)
    }

    /// Starts nodes named a, b, ... of which each is a cluster of its own.
    static func withStrangers(
        nodeCount: Int, arguments: [String] = [], _ body: (ClusterFixture) async throws -> Void
    ) async throws {
        try await with(nodeCount: nodeCount, arguments: arguments, namesPeers: false, seenCount: 1, body)
    }

    static func randomClusterKey() -> String {
        (0..<64).map { _ in String(Int.random(in: 0..<16), radix: 16) }.joined()
    }

    private static func with(
        nodeCount: Int, arguments: [String], namesPeers: Bool, seenCount: Int,
        _ body: (ClusterFixture) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "shoal-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let names = Array("abcdefgh").prefix(nodeCount).map(String.init)
        let ports = try freePorts(nodeCount * 2)
        var nodes: [NodeProcess] = []
        for (index, name) in names.enumerated() {
            let peer = namesPeers ? nodes.first.map { ["--peer", $0.link] } ?? [] : []
            nodes.append(
                try NodeProcess(
                    name: name, api: "127.0.0.1:\(ports[index * 2])", link: "127.0.0.1:\(ports[index * 2 + 1])",
                    directory: directory.appending(path: name), arguments: peer + arguments))
        }
        let fixture = ClusterFixture(nodes: nodes, directory: directory, arguments: arguments)
        do {
            for node in nodes { try await fixture.waitUntil(node, sees: seenCount) }
            try await body(fixture)
        } catch {
            let logs = nodes.map { "--- log of node \($0.name)\n\($0.log)" }.joined(separator: "\n")
            await fixture.stop()
            throw TestFailure("\(error)\n\(logs)")
        }
        await fixture.stop()
    }

    func stop() async {
        for node in nodes { await node.stop() }
    }

    var allNodesRun: Bool { nodes.allSatisfy(\.isRunning) }

    /// One more node, in a data folder of the cluster's that may be there already. The caller stops it.
    func start(
        _ name: String, arguments: [String] = [], wrapper: [String] = [], environment: [String: String] = [:]
    ) throws -> NodeProcess {
        let ports = try freePorts(2)
        return try NodeProcess(
            name: name, api: "127.0.0.1:\(ports[0])", link: "127.0.0.1:\(ports[1])",
            directory: directory.appending(path: name), arguments: arguments, wrapper: wrapper,
            environment: environment)
    }

    /// Runs `body` with one more node, and stops it.
    func withNode(
        _ name: String, arguments: [String] = [], wrapper: [String] = [], environment: [String: String] = [:],
        _ body: (NodeProcess) async throws -> Void
    ) async throws {
        let node = try start(name, arguments: arguments, wrapper: wrapper, environment: environment)
        do {
            try await body(node)
        } catch {
            await node.stop()
            throw TestFailure("\(error)\n--- log of node \(name)\n\(node.log)")
        }
        await node.stop()
    }

    /// Waits until the node's API lists so many nodes that it is connected to, itself included.
    func waitUntil(_ node: NodeProcess, sees count: Int) async throws {
        try await eventually("node \(node.name) sees \(count) nodes") {
            guard node.isRunning else { throw TestFailure("node \(node.name) ended: \(node.log)") }
            let found: [NodeReport]? = try? await self.get("/shoal/v1/nodes", from: node)
            return found?.filter { $0.memoryAvailable != nil }.count == count
        }
    }

    // MARK: HTTP

    func get<Value: Decodable>(_ path: String, from node: NodeProcess) async throws -> Value {
        let (status, body) = try await send(.GET, path, to: node)
        guard status == 200 else {
            throw TestFailure("GET \(path) answered \(status): \(String(decoding: body, as: UTF8.self))")
        }
        return try JSONDecoder().decode(Value.self, from: body)
    }

    /// Any request; JSON text as body.
    func send(
        _ method: HTTPMethodName, _ path: String, to node: NodeProcess, body: String? = nil
    ) async throws -> (status: Int, body: Data) {
        var request = HTTPClientRequest(url: "http://\(node.api)\(path)")
        request.method = .init(rawValue: method.rawValue)
        if let body {
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: body))
        }
        let response = try await HTTPClient.patient.execute(request, timeout: .minutes(5))
        let data = try await response.body.collect(upTo: 16 << 20)
        return (Int(response.status.code), Data(data.readableBytesView))
    }

    enum HTTPMethodName: String { case GET, POST, DELETE }

    /// Loads a model and waits until it answers.
    func load(_ model: URL, layers: String?, on node: NodeProcess) async throws -> InstanceReport {
        let request = LoadRequest(
            model: model.path, layers: try layers.map { try LoadRequest.assignments(parsing: $0) } ?? [],
            contextTokenCount: 1024)
        let body = String(decoding: try JSONEncoder().encode(request), as: UTF8.self)
        let (status, answer) = try await send(.POST, "/shoal/v1/instances", to: node, body: body)
        guard (200..<300).contains(status) else {
            throw TestFailure("load answered \(status): \(String(decoding: answer, as: UTF8.self))")
        }
        let id = try JSONDecoder().decode(InstanceReport.self, from: answer).id
        try await eventually("instance \(id) is ready") {
            let report = try await self.instance(id, from: node)
            if report.phase == .failed { throw TestFailure("instance failed: \(report.problem ?? "?")") }
            return report.phase == .ready
        }
        return try await instance(id, from: node)
    }

    func instance(_ id: InstanceID, from node: NodeProcess) async throws -> InstanceReport {
        try await get("/shoal/v1/instances/\(id)", from: node)
    }

    /// A plain chat answer: the HTTP status and the parsed JSON.
    func chat(
        _ question: String, on node: NodeProcess, model: String = TestFiles.referenceName, maxTokens: Int = 48
    ) async throws -> (status: Int, json: JSONObject) {
        let body = JSONObject([
            "model": model, "temperature": 0, "max_tokens": maxTokens,
            "messages": [
                // Without one, the model's template adds its own, with which this small model rambles in French.
                ["role": "system", "content": "You are a helpful assistant."], ["role": "user", "content": question],
            ],
        ])
        let (status, data) = try await send(.POST, "/v1/chat/completions", to: node, body: body.text)
        return (status, try JSONObject(data))
    }
}

/// Loosely typed JSON, for looking into answers.
struct JSONObject {
    let value: [String: Any]

    init(_ value: [String: Any]) { self.value = value }

    init(_ data: Data) throws {
        guard let value = try JSONSerialization.jsonObject(with: data) as? [String: Any] else {
            throw TestFailure("not a JSON object: \(String(decoding: data, as: UTF8.self))")
        }
        self.value = value
    }

    var text: String {
        (try? JSONSerialization.data(withJSONObject: value)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    /// Follows keys and array indexes: `at(["choices", 0, "message", "content"])`.
    func at(_ path: [any Sendable]) -> Any? {
        path.reduce(value as Any?) { current, step in
            switch step {
            case let key as String: (current as? [String: Any])?[key]
            case let index as Int: (current as? [Any]).flatMap { $0.indices.contains(index) ? $0[index] : nil }
            default: nil
            }
        }
    }

    func string(_ path: [any Sendable]) -> String? { at(path) as? String }
    func integer(_ path: [any Sendable]) -> Int? { at(path) as? Int }
}

extension HTTPClient {
    /// Waits longer for an answer than `shared`: the machine may be busy with everything else that is tested.
    static let patient = HTTPClient(
        eventLoopGroupProvider: .singleton,
        configuration: .init(timeout: .init(connect: .seconds(10), read: .minutes(5))))
}
