import Foundation
import ShoalCore
import Testing

@Suite("Draft models change no answer", .serialized)
struct DraftModelsChangeNothing {
    private static var schema: [String: Any] {
        [
            "type": "object", "properties": ["years": ["type": "array", "items": ["type": "integer"]]],
            "required": ["years"],
        ]
    }
    /// Greedy, seeded and bound by a grammar.
    private static var variants: [[String: Any]] {
        [
            ["temperature": 0], ["temperature": 0.7, "seed": 5],
            [
                "temperature": 0,
                "response_format": ["type": "json_schema", "json_schema": ["name": "city", "schema": schema]],
            ],
        ]
    }

    private func load(
        _ model: URL, draft: URL, layers: String, _ cluster: ClusterFixture
    ) async throws -> (status: Int, answer: JSONObject, report: InstanceReport?) {
        let body = JSONObject(["model": model.path, "layers": layers, "draft": draft.path, "sequenceCountMax": 2])
        let (status, data) = try await cluster.send(
            .POST, "/shoal/v1/instances", to: cluster.nodes[0], body: body.text)
        let code = Int(status)
        guard (200..<300).contains(code) else { return (code, try JSONObject(data), nil) }
        let report = try JSONDecoder().decode(InstanceReport.self, from: data)
        try await eventually("model and draft model are ready") {
            let now = try await cluster.instance(report.id, from: cluster.nodes[0])
            return now.phase == .ready && now.draft?.phase == .ready
        }
        return (code, try JSONObject(data), report)
    }

    private func answer(
        _ model: String, _ prompt: String, _ fields: [String: Any], speculate: String, tokenCount: Int = 60,
        _ cluster: ClusterFixture
    ) async throws -> String {
        try await cluster.chatAnswer(model, prompt, fields, speculate: speculate, tokenCount: tokenCount)
    }

    @Test("one of the same file: the same answers, also when its engine dies on the way")
    func goodDraft() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try #require(
                try await load(model, draft: model, layers: "a=0-14,b=15-29", cluster).report)
            let prompt = "Tell me about Paris."
            for fields in Self.variants {
                let plain = try await answer(TestFiles.referenceName, prompt, fields, speculate: "off", cluster)
                let guessed = try await answer(TestFiles.referenceName, prompt, fields, speculate: "draft", cluster)
                #expect(guessed == plain)
            }
            // Reports follow within a second.
            try await eventually("the draft model has guessed") {
                let draft = try await cluster.instance(loaded.id, from: cluster.nodes[0]).draft
                return draft?.secondsPerToken != nil && draft?.engineProcessID != nil
            }
            let draft = try #require(try await cluster.instance(loaded.id, from: cluster.nodes[0]).draft)
            #expect(draft.weightBytes > .zero && draft.restartCount == 0)

            let plain = try await answer(
                TestFiles.referenceName, prompt, ["temperature": 0], speculate: "off", tokenCount: 120, cluster)
            async let interrupted = answer(
                TestFiles.referenceName, prompt, ["temperature": 0], speculate: "draft", tokenCount: 120, cluster)
            let engine = try #require(draft.engineProcessID)
            kill(engine, SIGKILL)
            #expect(try await interrupted == plain)
            try await eventually("the draft model is back") {
                let draft = try await cluster.instance(loaded.id, from: cluster.nodes[0]).draft
                return draft?.phase == .ready && draft?.restartCount == 1
            }
            let again = try await answer(
                TestFiles.referenceName, prompt, ["temperature": 0], speculate: "draft", tokenCount: 120, cluster)
            #expect(again == plain)
        }
    }

    @Test("one that is nearly always wrong: the same answers, and it rests; another vocabulary is refused")
    func poorDraft() async throws {
        let (model, draft, stranger) = try (
            TestFiles.require(TestFiles.models.appending(path: "llama.gguf")),
            TestFiles.require(TestFiles.models.appending(path: "llama-tied.gguf")),
            TestFiles.require(TestFiles.models.appending(path: "qwen2.gguf"))
        )
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let refused = try await load(model, draft: stranger, layers: "a=0-2,b=3-5", cluster)
            #expect(refused.status == 400)
            #expect(refused.answer.text.contains("llama.gguf") && refused.answer.text.contains("qwen2.gguf"))

            let loaded = try #require(try await load(model, draft: draft, layers: "a=0-2,b=3-5", cluster).report)
            for seed in 1...4 {
                let fields: [String: Any] = ["temperature": 1.0, "seed": seed]
                let plain = try await answer(
                    "llama", "one", fields, speculate: "off", tokenCount: 200, cluster)
                for speculate in ["draft", "auto"] {
                    let guessed = try await answer(
                        "llama", "one", fields, speculate: speculate, tokenCount: 200, cluster)
                    #expect(guessed == plain)
                }
            }
            try await eventually("wrong guesses are judged") {
                let draft = try await cluster.instance(loaded.id, from: cluster.nodes[0]).draft
                return (draft?.acceptance ?? 1) < 0.3
            }
            let before = try #require(try await cluster.instance(loaded.id, from: cluster.nodes[0]).draft)
            for seed in 5...7 {
                let fields: [String: Any] = ["temperature": 1.0, "seed": seed]
                _ = try await answer("llama", "two", fields, speculate: "auto", tokenCount: 200, cluster)
            }
            let rested = try await cluster.instance(loaded.id, from: cluster.nodes[0])
            let sentCount = (rested.draft?.draftedTokenCount ?? 0) - before.draftedTokenCount
            #expect(sentCount < 60, "of 600 tokens: \(String(describing: rested.draft))")
        }
    }
}
