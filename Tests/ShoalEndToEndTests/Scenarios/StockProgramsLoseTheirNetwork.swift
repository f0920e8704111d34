import Foundation
import ShoalCore
import Testing

/// What goes on when the network is cut.
private enum Moment: CaseIterable, Sendable {
    case idle, midPrompt, midDecode, midLoad

    /// How many bytes pass between the nodes until it is certain: some of a load by reference (about 1 MB), of a prompt
    /// (2304 bytes per token), of an answer (200 kB per token).
    var byteCount: Int {
        switch self {
        case .idle: 0
        case .midLoad: 100_000
        case .midPrompt: 500_000
        case .midDecode: 2_000_000
        }
    }
}

/// A head and a worker whose whole network is cut and comes back.
@Suite("Stock programs lose their network", .serialized)
struct StockProgramsLoseTheirNetwork {
    @Test(
        "the network ends or falls silent at any moment: the cause is named, and afterwards it answers as before",
        arguments: Moment.allCases, CuttableNetwork.Cut.allCases)
    private func cut(_ moment: Moment, _ cut: CuttableNetwork.Cut) async throws {
        try await withCuttableNodes { cluster, network, a, b in
            let model = try TestFiles.require(TestFiles.referenceModel)
            let prompt = moment == .midPrompt ? String(repeating: "The sea is deep. ", count: 80) : "Once upon a time"
            let loaded = try await cluster.loadStock(model, layers: "a=0-14,b=15-29", on: a, contextTokenCount: 2048)
            let expected = try await cluster.complete(prompt, on: a, maxTokens: 40).text
            var id = loaded.id
            if moment == .midLoad {
                _ = try await cluster.send(.DELETE, "/shoal/v1/instances/\(id)", to: a)
                network.cut(cut, afterByteCount: moment.byteCount)
                id = try await cluster.beginStock(model, layers: "a=0-14,b=15-29", on: a, contextTokenCount: 2048)
            }
            async let asked: (status: Int, text: String, body: String)? =
                moment == .idle || moment == .midLoad
                ? nil : cluster.complete(prompt, on: a, maxTokens: 40, isCached: false)
            if moment != .midLoad { network.cut(cut, afterByteCount: moment.byteCount) }
            try await eventually("the network is cut") { network.isCut }
            let problem = try await cause(id, a, cluster)
            // After 5 s the leader looks for another plan, and says whom it misses.
            #expect(problem.contains("node b") || problem.contains("missing: b"), "\(problem)")
            network.restore()
            if let (status, text, body) = try await asked {
                #expect([200, 502, 503, 504].contains(status), "\(body)")
                #expect(status != 200 || text == expected)
            }
            try await eventually("it answers again") {
                try await cluster.complete(prompt, on: a, maxTokens: 40).text == expected
            }
            #expect(a.isRunning && b.isRunning)
        }
    }

    /// What the report says while the instance recovers.
    private func cause(_ id: InstanceID, _ node: NodeProcess, _ cluster: ClusterFixture) async throws -> String {
        var problem: String?
        try await eventually("the cause is told") {
            let reports: [InstanceReport] = try await cluster.get("/shoal/v1/instances", from: node)
            problem = reports.first { $0.phase != .ready && $0.problem != nil }?.problem
            return problem != nil
        }
        return problem ?? ""
    }

    private func withCuttableNodes(
        _ body: (ClusterFixture, CuttableNetwork, NodeProcess, NodeProcess) async throws -> Void
    ) async throws {
        let network = CuttableNetwork()
        defer { network.close() }
        let doors = [try await network.openDoor(), try await network.openDoor()]
        let common = ["--discovery", "off", "--cluster-key", ClusterFixture.randomClusterKey(), "--debug-recovery"]
        try await ClusterFixture.with(nodeCount: 0) { cluster in
            try await cluster.withNode("a", arguments: common + ["--advertise", doors[0]]) { a in
                try network.lead(door: 0, to: a.link)
                let others = ["--advertise", doors[1], "--peer", doors[0]]
                try await cluster.withNode("b", arguments: common + others) { b in
                    try network.lead(door: 1, to: b.link)
                    try await cluster.waitUntil(a, sees: 2)
                    try await body(cluster, network, a, b)
                }
            }
        }
    }
}
