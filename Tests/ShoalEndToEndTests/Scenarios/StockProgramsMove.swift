import Foundation
import ShoalCore
import Testing

@Suite("Stock programs move to other nodes", .serialized)
struct StockProgramsMove {
    private enum Role: CaseIterable, Sendable { case worker, head }

    @Test(
        "kill -9 of a node for good: the model is planned anew on the others, with the same text",
        arguments: Role.allCases)
    private func killedNode(_ role: Role) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let limit = try await wholeModelBytes(model) - 1
        try await ClusterFixture.with(nodeCount: 3, arguments: ["--memory", "\(limit)"]) { cluster in
            let loaded = try await cluster.loadStock(model, layers: nil, on: cluster.nodes[0])
            #expect(loaded.stages.count == 2)
            let expected = try await cluster.complete("Once upon a time", on: cluster.nodes[0]).text
            let worker = try #require(loaded.stages.first { $0.worker != nil && $0.nodeName != loaded.headName })
            let lost = role == .head ? loaded.headName : worker.nodeName
            let others = cluster.nodes.filter { $0.name != lost }
            cluster.nodes.first { $0.name == lost }?.signal(SIGKILL)
            var report: InstanceReport?
            for node in others {
                try await eventually("node \(node.name) knows an instance in place of \(loaded.id)") {
                    let reports: [InstanceReport] = try await cluster.get("/shoal/v1/instances", from: node)
                    report = reports.first { $0.phase == .ready && $0.id != loaded.id }
                    return report != nil && !reports.contains { $0.id == loaded.id }
                }
            }
            #expect(report?.engine == .rpc)
            #expect(Set(report?.stages.map(\.nodeName) ?? []) == Set(others.map(\.name)))
            for node in others {
                let (status, text, body) = try await cluster.complete("Once upon a time", on: node)
                #expect(status == 200, "\(body)")
                #expect(text == expected)
            }
        }
    }

    @Test("kill -9 of a node before llama-server is launched: the model is planned anew on the others")
    func killedBeforeLaunch() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let limit = try await wholeModelBytes(model) - 1
        try await ClusterFixture.with(nodeCount: 3, arguments: ["--memory", "\(limit)", "--rpc-settle", "5"]) {
            cluster in
            let a = cluster.nodes[0]
            let id = try await cluster.beginStock(model, layers: nil, on: a)
            var planned: InstanceReport?
            try await eventually("the workers are ready and llama-server is not started") {
                planned = try await cluster.instance(id, from: a)
                return planned?.stages.contains { $0.worker?.preparedSeconds != nil } == true
            }
            #expect(planned?.serverProcessID == nil)
            let lost = try #require(planned?.stages.first { $0.nodeName != "a" }?.nodeName)
            cluster.nodes.first { $0.name == lost }?.signal(SIGKILL)
            var report: InstanceReport?
            try await eventually("another instance is ready") {
                let reports: [InstanceReport] = try await cluster.get("/shoal/v1/instances", from: a)
                report = reports.first { $0.phase == .ready && $0.id != id }
                return report != nil
            }
            #expect(Set(report?.stages.map(\.nodeName) ?? []) == Set(cluster.nodes.map(\.name)).subtracting([lost]))
            #expect(try await cluster.complete("The capital of France is", on: a).text.contains("Paris"))
        }
    }

    /// Of a model on one node, as the planner counts.
    private func wholeModelBytes(_ model: URL) async throws -> Int {
        var found = 0
        try await ClusterFixture.with(nodeCount: 1) { cluster in
            let body = JSONObject([
                "model": model.path, "contextTokenCount": 512, "sequenceCountMax": 2, "engine": "rpc",
            ]).text
            let (_, answer) = try await cluster.send(.POST, "/shoal/v1/plan", to: cluster.nodes[0], body: body)
            let plan = try JSONDecoder().decode(PlanReport.self, from: answer)
            found = plan.stages.reduce(0) { $0 + $1.neededBytes.rawValue }
        }
        return found
    }
}
