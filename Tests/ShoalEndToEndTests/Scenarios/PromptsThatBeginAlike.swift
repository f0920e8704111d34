import Foundation
import ShoalCore
import Testing

@Suite("Prompts that begin alike are computed once", .serialized)
struct PromptsThatBeginAlike {
    private static let questions = ["What is the capital of France?", "Name three colours of the rainbow."]

    /// The answers in the order asked, each with its prompt tokens that were reused.
    private func answers(_ questions: [String]) async throws -> (texts: [String], reused: [Int]) {
        let model = try TestFiles.require(TestFiles.referenceModel)
        var texts: [String] = []
        var reused: [Int] = []
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            _ = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            for question in questions {
                let (status, answer) = try await cluster.chat(question, on: cluster.nodes[0])
                #expect(status == 200, "\(answer.text)")
                texts.append(answer.string(["choices", 0, "message", "content"]) ?? "")
                reused.append(answer.integer(["usage", "prompt_tokens_details", "cached_tokens"]) ?? -1)
            }
        }
        return (texts, reused)
    }

    @Test("answers are the same whichever question came first, and later ones reuse what all have in common")
    func sameAnswers() async throws {
        let forward = try await answers(Self.questions + [Self.questions[0]])
        let backward = try await answers(Self.questions.reversed())
        #expect(forward.texts[0] == backward.texts[1])
        #expect(forward.texts[1] == backward.texts[0])
        #expect(forward.texts[2] == forward.texts[0])
        #expect(forward.reused[0] == 0 && backward.reused[0] == 0)
        // System message and template, but not the question.
        #expect(forward.reused[1] >= 8 && forward.reused[1] < forward.reused[2])
    }
}
