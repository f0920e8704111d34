import Foundation
import ShoalCore
import Testing

/// What is done to which process while what goes on.
private enum Deed: CaseIterable, CustomStringConvertible {
    case killWorker, killServer, freezeWorker, freezeServer

    var description: String {
        switch self {
        case .killWorker: "kill -9 of a worker"
        case .killServer: "kill -9 of llama-server"
        case .freezeWorker: "SIGSTOP of a worker"
        case .freezeServer: "SIGSTOP of llama-server"
        }
    }

    var signal: Int32 {
        switch self {
        case .killWorker, .killServer: SIGKILL
        case .freezeWorker, .freezeServer: SIGSTOP
        }
    }

    var hitsServer: Bool { self == .killServer || self == .freezeServer }

    /// What the cause must name.
    var evidence: [String] {
        switch self {
        case .killWorker: ["SIGKILL", "worker"]
        case .killServer: ["SIGKILL", "llama-server"]
        case .freezeWorker, .freezeServer: ["frozen", "no token progress"]
        }
    }
}

@Suite("Stock programs may die", .serialized)
struct StockProgramsMayDie {
    private static let layers = "a=0-9,b=10-19,c=20-29"

    @Test(
        "whatever dies or freezes mid-decode or mid-prompt: a request that got nothing is answered by its one retry",
        arguments: [false, true])
    func notStreamed(isMidPrompt: Bool) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        // 500 tokens in portions of 64: the first few graphs are far from the first token.
        let prompt = isMidPrompt ? String(repeating: "The sea is deep. ", count: 100) : "Once upon a time"
        let tokenCount = isMidPrompt ? 4 : 120
        var options = RPCOptions()
        options.microBatchTokenCount = 64
        try await ClusterFixture.with(nodeCount: 3) { cluster in
            let loaded = try await cluster.loadStock(
                model, layers: Self.layers, on: cluster.nodes[0], options: options, contextTokenCount: 2048)
            func ask() async throws -> (status: Int, text: String, body: String) {
                try await cluster.complete(prompt, on: cluster.nodes[1], maxTokens: tokenCount, isCached: false)
            }
            let expected = try await ask().text
            for deed in Deed.allCases {
                let before = try await cluster.readyStock(loaded.id, on: cluster.nodes[0]).generation
                async let answer = ask()
                try await whileComputing(loaded.id, cluster)
                try await perform(deed, loaded.id, cluster)
                try await expectCause(deed, loaded.id, cluster, after: before)
                let (status, text, body) = try await answer
                #expect(status == 200, "\(deed): \(body)")
                #expect(text == expected, "\(deed)")
                #expect(cluster.allNodesRun)
            }
        }
    }

    @Test("a stream that has begun ends with an error event that names the cause, and the next request works")
    func streamed() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 3) { cluster in
            let loaded = try await cluster.loadStock(model, layers: Self.layers, on: cluster.nodes[0])
            for deed in [Deed.killWorker, .killServer] {
                let before = try await cluster.readyStock(loaded.id, on: cluster.nodes[0]).generation
                var isDone = false
                let lines = try await cluster.streamLines("Once upon a time", on: cluster.nodes[2], maxTokens: 200) {
                    guard $0 >= 10, !isDone else { return }
                    isDone = true
                    try await perform(deed, loaded.id, cluster)
                }
                #expect(lines.last?.contains("\"error\"") == true, "\(deed): \(lines.last ?? "")")
                try await cluster.readyStock(loaded.id, on: cluster.nodes[0], after: before)
                #expect(try await cluster.complete("The capital of France is", on: cluster.nodes[2]).status == 200)
            }
        }
    }

    @Test("idle: what died or froze is noticed before anybody asks", arguments: Deed.allCases)
    private func idle(_ deed: Deed) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 3) { cluster in
            let loaded = try await cluster.loadStock(model, layers: Self.layers, on: cluster.nodes[0])
            try await perform(deed, loaded.id, cluster)
            try await expectCause(deed, loaded.id, cluster, after: loaded.generation)
            try await cluster.readyStock(loaded.id, on: cluster.nodes[0], after: loaded.generation)
            #expect(try await cluster.complete("The capital of France is", on: cluster.nodes[1]).status == 200)
        }
    }

    @Test("mid-load: the launch begins again and becomes ready, cause named", arguments: Deed.allCases)
    private func midLoad(_ deed: Deed) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 3) { cluster in
            let id = try await cluster.beginStock(model, layers: Self.layers, on: cluster.nodes[0])
            var server: Int32 = 0
            try await eventually("llama-server runs") {
                let found = try? await cluster.serverProcess(id, from: cluster.nodes[0])
                server = found ?? 0
                return found != nil
            }
            // It waits, so that the deed is done before it is ready; for less than what counts as frozen.
            kill(server, SIGSTOP)
            let phase = try await cluster.instance(id, from: cluster.nodes[0]).phase
            #expect([.launching, .handshaking, .loading].contains(phase), "\(phase)")
            try await perform(deed, id, cluster)
            if deed != .freezeServer { kill(server, SIGCONT) }
            try await expectCause(deed, id, cluster, after: 1)
            let report = try await cluster.readyStock(id, on: cluster.nodes[0], after: 1)
            #expect(report.phases.map(\.phase).contains(.recovering))
            #expect(try await cluster.complete("The capital of France is", on: cluster.nodes[1]).status == 200)
        }
    }

    @Test(
        "fifty random deaths and freezes in a row: never wedged, every answer is right or a clear error",
        .enabled(if: ProcessInfo.processInfo.environment["SHOAL_SOAK"] != nil, "run by make soak"))
    func soak() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let seed = ProcessInfo.processInfo.environment["SHOAL_SEED"].flatMap { UInt64($0) } ?? .random(in: 1...999_999)
        var generator = SoakGenerator(state: seed)
        try await ClusterFixture.with(nodeCount: 4) { cluster in
            let layers = "a=0-6,b=7-14,c=15-22,d=23-29"
            let loaded = try await cluster.loadStock(model, layers: layers, on: cluster.nodes[0])
            let expected = try await cluster.complete("Once upon a time", on: cluster.nodes[1], maxTokens: 40).text
            for round in 1...50 {
                let deed = Deed.allCases.randomElement(using: &generator) ?? .killWorker
                let wait = Int.random(in: 0...2500, using: &generator)
                async let answer = cluster.complete("Once upon a time", on: cluster.nodes[2], maxTokens: 40)
                try await Task.sleep(for: .milliseconds(wait))
                // In the middle of a recovery there may be nobody to hit.
                try? await perform(deed, loaded.id, cluster, stage: Int.random(in: 1...3, using: &generator))
                let (status, text, body) = try await answer
                let note = "seed \(seed), round \(round), \(deed) after \(wait) ms: \(status) \(body)"
                #expect([200, 502, 503, 504].contains(status), "\(note)")
                #expect(status != 200 || text == expected, "\(note)")
                try await settled(loaded.id, cluster)
            }
            #expect(cluster.allNodesRun)
            let (status, text, _) = try await cluster.complete("Once upon a time", on: cluster.nodes[2], maxTokens: 40)
            #expect(status == 200)
            #expect(text == expected)
        }
    }

    // MARK: What the tests share

    private func perform(_ deed: Deed, _ id: InstanceID, _ cluster: ClusterFixture, stage: Int = 1) async throws {
        let target =
            deed.hitsServer
            ? try await cluster.serverProcess(id, from: cluster.nodes[0])
            : try await cluster.process(id, stage: stage, from: cluster.nodes[0])
        kill(target, deed.signal)
    }

    /// Returns when a request is being computed.
    private func whileComputing(_ id: InstanceID, _ cluster: ClusterFixture) async throws {
        let graphs = try await graphCount(id, cluster)
        try await eventually("the workers compute") { try await graphCount(id, cluster) > graphs + 5 }
    }

    private func graphCount(_ id: InstanceID, _ cluster: ClusterFixture) async throws -> Int {
        try await cluster.instance(id, from: cluster.nodes[0]).stages.reduce(0) { $0 + ($1.worker?.graphCount ?? 0) }
    }

    /// Why the given generation ended, as the report keeps it. Every generation that did not end well has a record.
    private func expectCause(
        _ deed: Deed, _ id: InstanceID, _ cluster: ClusterFixture, after generation: UInt32
    ) async throws {
        var cause: String?
        try await eventually("the cause of \(deed) is told") {
            let ends = try await cluster.instance(id, from: cluster.nodes[0]).phases.filter { $0.phase == .recovering }
            cause = ends.dropFirst(Int(generation) - 1).first?.cause
            return cause != nil
        }
        #expect(deed.evidence.contains { cause?.contains($0) == true }, "\(deed): \(cause ?? "")")
    }

    /// Ready, and computing: a process that was stopped only a moment ago does not show yet.
    private func settled(_ id: InstanceID, _ cluster: ClusterFixture) async throws {
        try await eventually("the instance answers") {
            guard try await cluster.instance(id, from: cluster.nodes[0]).phase == .ready else { return false }
            return try await cluster.complete("Hi", on: cluster.nodes[1], maxTokens: 1).status == 200
        }
    }
}

/// SplitMix64.
private struct SoakGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
