import Foundation
import Logging
import ShoalCore
import ShoalLinks
import ShoalMembership
import ShoalTesting
import ShoalTrust
import Synchronization
import Testing

@testable import ShoalNode

/// Nodes in this process with fake engines, over real loopback links.
final class TestCluster: Sendable {
    let folder: String
    let modelPath: String
    let signal = ChangeSignal()
    /// Lets the cluster's nodes in without invites.
    static let key = ClusterKey.random()
    private let started = Mutex<[TestNode]>([])

    private init() throws {
        folder = FileManager.default.temporaryDirectory.path + "/shoal-node-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        modelPath = try TinyModelFile().write(to: folder)
    }

    /// Runs `body`, then stops every node and checks that nothing of it is left.
    static func with(_ body: (TestCluster) async throws -> Void) async throws {
        let cluster = try TestCluster()
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(cluster))
        } catch {
            result = .failure(error)
        }
        for node in cluster.started.withLock({ $0 }) {
            await node.stop()
            #expect(node.launcher.liveEngineCount == 0, "engines of node \(node.name) outlived it")
        }
        // Best effort: a folder that stays behind is no failure of what is tested.
        try? FileManager.default.removeItem(atPath: cluster.folder)
        try result.get()
    }

    /// Starts a node, with the identity of an earlier one of the same name. One that does not accept links refuses to
    /// be dialled, and dials.
    @discardableResult
    func start(
        _ name: String, peers: [TestNode] = [], linkAddress: String = "127.0.0.1:0",
        launcher: FakeEngineLauncher = FakeEngineLauncher(), acceptsLinks: Bool = true,
        configure: (inout NodeConfiguration) -> Void = { _ in }
    ) async throws -> TestNode {
        var configuration = NodeConfiguration(
            name: name, dataDirectory: folder + "/" + name, linkAddress: linkAddress)
        configuration.clusterKey = Self.key
        for peer in peers { configuration.peerAddresses.append(await peer.node.boundLinkAddress) }
        configuration.limits.redialDelay = .milliseconds(20)
        configuration.limits.redialDelayMax = .milliseconds(100)
        configuration.limits.announcementInterval = .milliseconds(50)
        configuration.limits.orphanedStageGrace = .milliseconds(100)
        configuration.limits.membership.tickInterval = .milliseconds(50)
        configuration.limits.election.startDelay = .milliseconds(100)
        configuration.limits.election.claimDelay = .milliseconds(300)
        configuration.limits.election.rankDelay = .milliseconds(200)
        configuration.limits.desired.reportGrace = .milliseconds(500)
        configuration.limits.desired.retryDelayMin = .milliseconds(50)
        configuration.limits.desired.replanInterval = .milliseconds(500)
        configuration.limits.desired.replanIntervalMin = .milliseconds(100)
        configuration.limits.commandInterval = .milliseconds(100)
        configuration.limits.relayDelay = .milliseconds(100)
        configuration.limits.lostAnswerInterval = .milliseconds(20)
        configuration.onChange = { [signal] in signal.change() }
        configure(&configuration)
        var logger = Logger(label: name) { _ in SwiftLogNoOpLogHandler() }
        logger.logLevel = .critical
        let node = try Node(configuration: configuration, launcher: launcher, logger: logger)
        let running = try await TestNode(name: name, node: node, launcher: launcher, acceptsLinks: acceptsLinks)
        started.withLock { $0.append(running) }
        return running
    }

    /// Nodes that dial the first one, all connected to each other.
    func connected(
        _ names: String..., configure: (inout NodeConfiguration) -> Void = { _ in }
    ) async throws -> [TestNode] {
        var nodes: [TestNode] = []
        for name in names { nodes.append(try await start(name, peers: Array(nodes.prefix(1)), configure: configure)) }
        for node in nodes { try await until { await node.peerNames == names.filter { $0 != node.name } } }
        return nodes
    }

    /// Of somebody who may link with the cluster's nodes.
    static func identity() throws -> LinkSecurity { try TestTrust.alone("foreign", sharedKey: key) }

    func until(_ condition: () async throws -> Bool) async throws { try await signal.wait(until: condition) }

    /// Loads the model and waits until every node knows that it is ready.
    @discardableResult
    func load(
        _ layers: String, at node: TestNode, knownTo nodes: [TestNode] = [], sequenceCountMax: Int? = nil
    ) async throws -> InstanceReport {
        let report = try await node.node.load(
            LoadRequest(
                model: modelPath, layers: try LoadRequest.assignments(parsing: layers),
                contextTokenCount: 2048, sequenceCountMax: sequenceCountMax))
        for node in [node] + nodes { try await ready(report.id, at: node) }
        return report
    }

    func request(_ layers: String, model: String? = nil) throws -> LoadRequest {
        LoadRequest(
            model: model ?? modelPath, layers: try LoadRequest.assignments(parsing: layers), contextTokenCount: 2048)
    }

    /// Waits until the instance is ready; throws when it fails.
    func ready(_ id: InstanceID, at node: TestNode) async throws {
        try await until {
            guard let report = await node.instance(id) else { return false }
            if report.phase == .failed { throw ShoalError(.internal, "failed: \(report.problem ?? "no reason")") }
            return report.phase == .ready
        }
    }
}

/// One node that runs until `stop`.
final class TestNode: Sendable {
    let name: String
    let node: Node
    let launcher: FakeEngineLauncher
    private let running: Task<Void, Never>

    init(name: String, node: Node, launcher: FakeEngineLauncher, acceptsLinks: Bool) async throws {
        self.name = name
        self.node = node
        self.launcher = launcher
        try await node.open()
        if !acceptsLinks { await node.listener?.close() }
        // Cancelled by `stop`.
        running = Task { await node.run() }
    }

    /// As on SIGTERM; returns when the node has ended.
    func stop() async {
        running.cancel()
        await running.value
    }

    /// Of the nodes that it is connected to and knows enough of to plan with, sorted.
    var peerNames: [String] {
        get async {
            await node.nodes().filter { $0.reachability == .connected && $0.threadCount != nil }.map(\.name).sorted()
        }
    }

    /// Readers of this node have their say on the link to `other` before this returns.
    func roundTrip(to other: TestNode) async throws {
        await #expect(throws: ShoalError.self) {
            _ = try await node.ask(
                other.node.id, .inspectStage(InstanceID(rawValue: 0)), deadline: .seconds(30))
        }
    }

    /// Requests that this node computes for readers elsewhere.
    var remoteRequestCount: Int { get async { await node.requestsByLink.values.reduce(0) { $0 + $1.count } } }

    func instance(_ id: InstanceID) async -> InstanceReport? { await node.instances().first { $0.id == id } }

    func answer(_ prompt: String, tokenCount: Int, id: RequestID = .random()) async throws -> Answer {
        try await Answer(reading: try await node.generate(.text(prompt, tokenCount: tokenCount, id: id)))
    }

    /// The engine of a stage that was started last.
    func engine(_ number: Int = 0) async -> FakeEngine { await launcher.engines.event(number) }
}

/// What a reader got.
struct Answer {
    var text = ""
    var events: [GenerationEvent] = []

    init() {}

    init(reading stream: GenerationStream) async throws {
        for await event in stream { add(event) }
    }

    mutating func add(_ event: GenerationEvent) {
        events.append(event)
        if case .text(let piece, _) = event { text += piece }
    }

    var terminals: [GenerationEvent] { events.filter(\.isTerminal) }

    /// The error that ended it; fails the test unless it is the only end.
    func failure() throws -> ShoalError {
        #expect(terminals.count == 1)
        guard case .failed(let error)? = events.last else {
            throw ShoalError(.internal, "the answer did not fail: \(events)")
        }
        return error
    }
}

extension GenerationRequest {
    static func text(_ prompt: String, tokenCount: Int, id: RequestID = .random()) -> GenerationRequest {
        var request = GenerationRequest(id: id, model: "tiny", input: .text(prompt))
        request.outputTokenCountMax = tokenCount
        return request
    }
}

extension FakeModel {
    func answer(to prompt: String, tokenCount: Int) -> String {
        text(of: continuation(of: tokenize(prompt, addSpecial: true), count: tokenCount))
    }
}
