import Foundation
import ShoalCore
import Testing

@Suite("Nodes that die are replaced", .serialized)
struct NodesAreReplaced {
    private static let question = "Tell me a very long story."

    @Test("kill -9 of a node with the model: the slot is served by another node, which goes on with the answer")
    func killedNode() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 3) { cluster in
            let loaded = try await cluster.load(model, layers: nil, on: cluster.nodes[0])
            let victim = try #require(cluster.nodes.first { $0.name == loaded.headName })
            let others = cluster.nodes.filter { $0.name != victim.name }
            try await expectSameAnswer(from: others[0]) {
                victim.signal(SIGKILL)
                _ = try await victim.waitForExit()
            }
            for node in others {
                try await eventually("node \(node.name) knows that \(victim.name) is dead") {
                    let nodes: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                    return nodes.first { $0.name == victim.name }?.state == .dead
                }
            }
            let report = try await served(by: others, not: loaded.id, cluster)
            #expect(others.contains { $0.name == report.headName })
            for node in others { try await expectParis(from: node, cluster) }
        }
    }

    @Test("kill -9 of a node with a stage: the others take its layers and go on with the answer")
    func killedStage() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let limit = try await wholeModelBytes(model) - 1
        try await ClusterFixture.with(nodeCount: 3, arguments: ["--memory", "\(limit)"]) { cluster in
            let loaded = try await cluster.load(model, layers: nil, on: cluster.nodes[0])
            #expect(loaded.stages.count == 2)
            let lost = loaded.stages[0].nodeName
            let victim = try #require(cluster.nodes.first { $0.name == lost })
            let others = cluster.nodes.filter { $0.name != lost }
            let head = try #require(others.first { $0.name == loaded.headName })
            try await expectSameAnswer(from: head) {
                victim.signal(SIGKILL)
                _ = try await victim.waitForExit()
            }
            let report = try await served(by: others, not: loaded.id, cluster)
            #expect(Set(report.stages.map(\.nodeName)) == Set(others.map(\.name)))
            for node in others { try await expectParis(from: node, cluster) }
        }
    }

    @Test("a frozen node is suspect, then dead; the others serve, and go on with answers that waited for it")
    func frozenNode() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let limit = try await wholeModelBytes(model) - 1
        try await ClusterFixture.with(nodeCount: 3, arguments: ["--memory", "\(limit)"]) { cluster in
            let loaded = try await cluster.load(model, layers: nil, on: cluster.nodes[0])
            let frozen = loaded.stages[0].nodeName
            let victim = try #require(cluster.nodes.first { $0.name == frozen })
            let others = cluster.nodes.filter { $0.name != frozen }
            defer { victim.signal(SIGCONT) }
            try await expectSameAnswer(from: others[0]) {
                victim.signal(SIGSTOP)
                try await expectState(.suspect, of: frozen, at: others, cluster)
                try await expectState(.dead, of: frozen, at: others, cluster)
            }
            let report = try await served(by: others, not: loaded.id, cluster)
            #expect(Set(report.stages.map(\.nodeName)) == Set(others.map(\.name)))
            try await expectParis(from: others[1], cluster)
            victim.signal(SIGCONT)
            try await expectState(.alive, of: frozen, at: others, cluster)
            let nodes: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: others[0])
            #expect(nodes.count == 3 && nodes.count { $0.leadingTerm != nil } == 1)
        }
    }

    @Test("kill -9 of the leader during an answer whose stages are elsewhere: the answer goes on")
    func killedLeader() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 3) { cluster in
            let name = try await leader(of: cluster.nodes, cluster)
            let others = cluster.nodes.filter { $0.name != name }
            let layers = "\(others[0].name)=0-14,\(others[1].name)=15-29"
            let loaded = try await cluster.load(model, layers: layers, on: others[0])
            let stream = try await TokenStream.open("Tell me a very long story.", on: others[0])
            var lines = stream.lines.makeAsyncIterator()
            for _ in 0..<5 { _ = try await lines.next() }
            cluster.nodes.first { $0.name == name }?.signal(SIGKILL)
            _ = try await leader(of: others, not: name, cluster)
            var rest: [String] = []
            while let line = try await lines.next() { rest.append(line) }
            #expect(!rest.contains { $0.contains("\"error\"") }, "\(rest.suffix(3))")
            #expect(rest.last?.contains("[DONE]") == true)
            let after = try await cluster.instance(loaded.id, from: others[0])
            #expect(after.phase == .ready && after.stages.allSatisfy { $0.restartCount == 0 })
            let (status, _) = try await cluster.send(.DELETE, "/shoal/v1/instances/\(loaded.id)", to: others[1])
            #expect(status == 200, "the new leader owns it")
        }
    }

    /// A streamed answer from `node` is the same, without a word of an error, when `event` happens in its midst.
    private func expectSameAnswer(
        from node: NodeProcess, despite event: () async throws -> Void
    ) async throws {
        let whole = try await TokenStream.open(Self.question, on: node, maxTokens: 200)
        let expected = try await whole.lines.reduce(into: []) { $0.append($1) }
        let stream = try await TokenStream.open(Self.question, on: node, maxTokens: 200)
        var lines = stream.lines.makeAsyncIterator()
        var received: [String] = []
        while received.count < 20, let line = try await lines.next() { received.append(line) }
        try await event()
        while let line = try await lines.next() { received.append(line) }
        #expect(TokenStream.text(of: received) == TokenStream.text(of: expected))
        #expect(received.last == "data: [DONE]", "\(received.suffix(2))")
    }

    /// Of a model on one node, as the planner counts.
    private func wholeModelBytes(_ model: URL) async throws -> Int {
        var found = 0
        try await ClusterFixture.with(nodeCount: 1) { cluster in
            let body = JSONObject(["model": model.path, "contextTokenCount": 1024]).text
            let (_, answer) = try await cluster.send(.POST, "/shoal/v1/plan", to: cluster.nodes[0], body: body)
            let plan = try JSONDecoder().decode(PlanReport.self, from: answer)
            found = plan.stages.reduce(0) { $0 + $1.neededBytes.rawValue }
        }
        return found
    }

    private func expectState(
        _ state: NodeReport.State, of name: String, at nodes: [NodeProcess], _ cluster: ClusterFixture
    ) async throws {
        for node in nodes {
            try await eventually("node \(node.name) holds \(name) \(state)") {
                let reports: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                return reports.first { $0.name == name }?.state == state
            }
        }
    }

    private func leader(
        of nodes: [NodeProcess], not old: String? = nil, _ cluster: ClusterFixture
    ) async throws -> String {
        var found: Set<String?> = []
        try await eventually("the nodes agree on a leader that is alive") {
            found = []
            for node in nodes {
                let reports: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                let leading = reports.first { $0.leadingTerm != nil }
                found.insert(leading?.state == .alive ? leading?.name : nil)
            }
            return found.count == 1 && found.first != .some(nil) && found.first != .some(old)
        }
        return try #require(found.first ?? nil)
    }

    /// The instance that answers now, known at every one of `nodes`.
    private func served(
        by nodes: [NodeProcess], not old: InstanceID, _ cluster: ClusterFixture
    ) async throws -> InstanceReport {
        var found: InstanceReport?
        for node in nodes {
            try await eventually("node \(node.name) knows an instance in place of \(old)") {
                let reports: [InstanceReport] = try await cluster.get("/shoal/v1/instances", from: node)
                found = reports.first { $0.phase == .ready && $0.id != old }
                return found != nil && !reports.contains { $0.id == old }
            }
        }
        return try #require(found)
    }

    private func expectParis(from node: NodeProcess, _ cluster: ClusterFixture) async throws {
        let (status, answer) = try await cluster.chat("What is the capital of France?", on: node)
        #expect(status == 200, "\(answer.text)")
        #expect(answer.string(["choices", 0, "message", "content"])?.contains("Paris") == true, "\(answer.text)")
    }
}
