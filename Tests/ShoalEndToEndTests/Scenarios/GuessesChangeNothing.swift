import Foundation
import ShoalCore
import Testing

@Suite("Guesses change no answer", .serialized)
struct GuessesChangeNothing {
    private static let list = (1...12).map { "Item \($0): apples, pears, plums and cherries." }.joined(separator: " ")

    private func answer(
        _ fields: [String: Any], speculate: String, _ cluster: ClusterFixture
    ) async throws -> String {
        try await cluster.chatAnswer(
            TestFiles.referenceName, "Repeat exactly this text: \(Self.list)", fields, speculate: speculate,
            tokenCount: 80)
    }

    @Test("greedy, seeded and grammar-bound answers are the same with guesses and without, and guesses were right")
    func sameAnswers() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let loaded = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
            let schema: [String: Any] = [
                "type": "object", "properties": ["items": ["type": "array", "items": ["type": "integer"]]],
                "required": ["items"],
            ]
            let requests: [[String: Any]] = [
                ["temperature": 0], ["temperature": 0.7, "seed": 5],
                [
                    "temperature": 0,
                    "response_format": ["type": "json_schema", "json_schema": ["name": "list", "schema": schema]],
                ],
            ]
            for request in requests {
                let plain = try await answer(request, speculate: "off", cluster)
                let guessed = try await answer(request, speculate: "ngram", cluster)
                #expect(guessed == plain)
            }
            // Reports follow within a second.
            try await eventually("right guesses are counted") {
                let counters = try await cluster.instance(loaded.id, from: cluster.nodes[0]).counters
                return counters.acceptedTokenCount > 20 && counters.draftedTokenCount >= counters.acceptedTokenCount
            }
            _ = try await answer(["temperature": 0], speculate: "auto", cluster)
            let (status, _) = try await cluster.send(
                .POST, "/v1/completions", to: cluster.nodes[0],
                body: JSONObject(["model": TestFiles.referenceName, "prompt": "x", "speculate": "perhaps"]).text)
            #expect(status == 400)
        }
    }
}
