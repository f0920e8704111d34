import Foundation
import ShoalCore
import ShoalEngine
import Testing

@Suite("Text and sampling of a real engine", .serialized)
struct TextAndSamplingTests {
    private func prompt(_ question: String, for pipeline: TestPipeline) async throws -> [TokenID] {
        let text = try await pipeline.head.text(.renderChat([ChatMessage(role: "user", content: question)]))
        return try await pipeline.head.tokens(of: text, addSpecial: true, parseSpecial: true)
    }

    private func answer(
        _ pipeline: TestPipeline, _ prompt: [TokenID], _ parameters: SamplingParameters, sequence: Int32,
        tokenCountMax: Int = 24
    ) async throws -> [SampledToken] {
        try await pipeline.head.configureSampler(sequence, parameters)
        return try await pipeline.generate(from: prompt, sequence: sequence, tokenCountMax: tokenCountMax)
    }

    @Test("SmolLM2 over two stages knows the capital of France")
    func capitalOfFrance() async throws {
        let pipeline = try await TestPipeline.start(.reference, cutAt: [12])
        // Asked without the second sentence, this small model answers in French nonsense; llama-server gets the same.
        let prompt = try await prompt("What is the capital of France? Answer in English.", for: pipeline)
        let text = try await answer(pipeline, prompt, .greedy, sequence: 0).text
        #expect(text.contains("Paris"), "\(text)")
    }

    @Test("the model's own template renders a conversation")
    func template() async throws {
        let pipeline = try await TestPipeline.start(.family("llama"))
        let messages = [ChatMessage(role: "user", content: "Hello"), ChatMessage(role: "assistant", content: "Hi 🐟")]
        let text = try await pipeline.head.text(.renderChat(messages))
        #expect(text.hasPrefix("<|im_start|>user\nHello<|im_end|>"), "\(text)")
        #expect(text.hasSuffix("Hi 🐟<|im_end|>\n<|im_start|>assistant\n"), "\(text)")
    }

    @Test("text survives tokens and back", arguments: ["llama", "qwen2", "phi3", "mamba"])
    func textRoundTrip(_ family: String) async throws {
        let pipeline = try await TestPipeline.start(.family(family))
        let text = "Grüße, 世界! 🐟🐠 fin"
        let tokens = try await pipeline.head.tokens(of: text)
        let back = String(validating: try await pipeline.head.pieces(of: tokens).flatMap { $0 }, as: UTF8.self)
        #expect(back?.trimmingCharacters(in: .whitespaces) == text)
    }

    @Test("a token's text is raw bytes: a character split over tokens comes back whole when they are joined")
    func piecesAreBytes() async throws {
        let pipeline = try await TestPipeline.start(.reference)
        let tokens = try await pipeline.head.tokens(of: "🐟世")
        #expect(tokens.count > 2)
        var pieces: [[UInt8]] = []
        for (index, token) in tokens.enumerated() {
            var forced = SamplingParameters.greedy
            forced.logitBias = [.init(token: token, bias: 1000)]
            try await pipeline.head.configureSampler(0, forced)
            let entry = TestPipeline.entries([TokenID(rawValue: 1)], from: Int32(index))
            let sampled = try #require(try await pipeline.run(entry, wantsLogits: false).tokens.first)
            #expect(sampled.token == token)
            pieces.append(sampled.piece)
        }
        #expect(try await pipeline.head.pieces(of: tokens) == pieces)
        #expect(pieces.contains { String(validating: $0, as: UTF8.self) == nil })
        #expect(String(validating: pieces.flatMap { $0 }, as: UTF8.self) == "🐟世")
    }

    @Test("the same seed draws the same answer, another seed another one")
    func seeds() async throws {
        let pipeline = try await TestPipeline.start(.reference, cutAt: [15])
        let prompt = try await prompt("Tell me a story.", for: pipeline)
        var parameters = SamplingParameters()
        parameters.topK = 50
        parameters.topP = 0.95
        parameters.minP = 0.01
        parameters.repetitionPenalty = 1.1
        parameters.seed = 42
        let first = try await answer(pipeline, prompt, parameters, sequence: 0)
        _ = try await pipeline.run([], kvOperations: [.clear])
        let second = try await answer(pipeline, prompt, parameters, sequence: 0)
        _ = try await pipeline.run([], kvOperations: [.clear])
        parameters.seed = 43
        let third = try await answer(pipeline, prompt, parameters, sequence: 0)
        #expect(first == second)
        #expect(first != third)
    }

    /// What the schema of the next test describes.
    private struct Person: Decodable {
        var name: String
        var age: Int
    }

    @Test("a grammar from a JSON schema makes the answer valid JSON of that schema")
    func grammar() async throws {
        let pipeline = try await TestPipeline.start(.reference, cutAt: [15])
        let schema = """
            {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 1, "maximum": 120}}, "required": ["name", "age"],
            "additionalProperties": false}
            """
        var parameters = SamplingParameters.greedy
        parameters.grammar = try await pipeline.head.text(.grammar(jsonSchema: schema))
        let prompt = try await prompt("Describe a person.", for: pipeline)
        let text = try await answer(pipeline, prompt, parameters, sequence: 0, tokenCountMax: 60).text
        let person = try JSONDecoder().decode(Person.self, from: Data(text.utf8))
        #expect((1...120).contains(person.age) && person.name.count <= 12, "\(text)")
    }

    @Test("penalties and bias change the choice")
    func penaltiesAndBias() async throws {
        let pipeline = try await TestPipeline.start(.reference, cutAt: [15])
        let prompt = try await prompt("What is the capital of France?", for: pipeline)
        let plain = try await answer(pipeline, prompt, .greedy, sequence: 0, tokenCountMax: 4)
        var parameters = SamplingParameters.greedy
        parameters.logitBias = [.init(token: plain[0].token, bias: -100)]
        parameters.presencePenalty = 2
        parameters.frequencyPenalty = 2
        let biased = try await answer(pipeline, prompt, parameters, sequence: 1, tokenCountMax: 4)
        #expect(biased[0].token != plain[0].token)
        #expect(try await pipeline.head.status().samplersInUse.map(\.rawValue) == [0, 1])
        _ = try await pipeline.head.ask(.releaseSampler(SequenceID(rawValue: 0)))
        #expect(try await pipeline.head.status().samplersInUse.map(\.rawValue) == [1])
        _ = try await pipeline.head.ask(.reset)
        let status = try await pipeline.head.status()
        #expect(status.samplersInUse.isEmpty && status.sequencesInUse.isEmpty)
    }

    @Test("penalties count the prompt")
    func penaltiesCountThePrompt() async throws {
        let pipeline = try await TestPipeline.start(.reference)
        let prompt = try await prompt("What is the capital of France?", for: pipeline)
        var parameters = SamplingParameters.greedy
        parameters.presencePenalty = 2
        parameters.frequencyPenalty = 2
        let plain = try await answer(pipeline, prompt, parameters, sequence: 0, tokenCountMax: 1)
        let said = SamplerHistory(prompt: Array(repeating: plain[0].token, count: 40))
        try await pipeline.head.configureSampler(1, parameters, history: said)
        let penalised = try await pipeline.generate(from: prompt, sequence: 1, tokenCountMax: 1)
        #expect(penalised[0].token != plain[0].token)
    }

    @Test("a sampler goes on behind its history as the one before would have", arguments: [false, true])
    func history(isConstrained: Bool) async throws {
        let pipeline = try await TestPipeline.start(.reference)
        let prompt = try await prompt("Tell me a story.", for: pipeline)
        var parameters = SamplingParameters()
        parameters.temperature = isConstrained ? 0 : 0.8
        parameters.repetitionPenalty = 1.2
        parameters.seed = 7
        parameters.grammar = isConstrained ? #"root ::= "[" [a-z ]+ "]" [0-9]+"# : nil
        var history = SamplerHistory(prompt: Array(prompt.suffix(64)))
        try await pipeline.head.configureSampler(0, parameters, history: history)
        let whole = try await pipeline.generate(from: prompt, sequence: 0, tokenCountMax: 20).map(\.token)
        history.output = Array(whole.prefix(9))
        try await pipeline.head.configureSampler(1, parameters, history: history)
        let rest = try await pipeline.generate(
            from: prompt + history.output, sequence: 1, tokenCountMax: whole.count - 9)
        #expect(history.output + rest.map(\.token) == whole)
    }

    @Test("a history that cannot be is refused")
    func refusedHistory() async throws {
        let pipeline = try await TestPipeline.start(.reference)
        var parameters = SamplingParameters.greedy
        parameters.grammar = #"root ::= "[" [a-z]+ "]""#
        let word = try await pipeline.head.tokens(of: "hello")
        for history in [SamplerHistory(output: word), SamplerHistory(prompt: [TokenID(rawValue: 99_999_999)])] {
            let sampling = parameters
            await #expect(throws: ShoalError.self) {
                try await pipeline.head.configureSampler(0, sampling, history: history)
            }
        }
    }

    @Test("sampling that makes no sense is refused")
    func refusals() async throws {
        let pipeline = try await TestPipeline.start(.family("llama"), cutAt: [3])
        try await refuses(pipeline.head, "grammar") { $0.grammar = "root ::= (" }
        try await refuses(pipeline.head, "grammar") { $0.grammar = "root ::= missing" }
        try await refuses(pipeline.head, "grammar") { $0.grammar = "root ::= root \"a\"" }
        try await refuses(pipeline.head, "256") { $0.grammar = "root ::= " + String(repeating: "(", count: 10_000) }
        try await refuses(pipeline.head, "temperature") { $0.temperature = -1 }
        try await refuses(pipeline.head, "top_p") { $0.topP = 0 }
        try await refuses(pipeline.head, "penalty") { $0.repetitionPenalty = 0 }
        try await refuses(pipeline.head, "token 99999999") {
            $0.logitBias = [.init(token: TokenID(rawValue: 99_999_999), bias: 1)]
        }
        let sampling = SamplingParameters.greedy
        await #expect(throws: ShoalError.self) { try await pipeline.head.configureSampler(4, sampling) }
        await #expect(throws: ShoalError.self) { try await pipeline.engines[0].configureSampler(0, sampling) }
    }

    private func refuses(
        _ engine: EngineUnderTest, _ part: String, _ change: (inout SamplingParameters) -> Void
    ) async throws {
        var changed = SamplingParameters()
        change(&changed)
        let parameters = changed
        let error = await #expect(throws: ShoalError.self) { try await engine.configureSampler(0, parameters) }
        #expect(error?.code == .invalidRequest)
        #expect(error?.message.contains(part) == true, "\(error?.message ?? "")")
    }

    @Test("schemas and tokens that make no sense are refused")
    func textRefusals() async throws {
        let pipeline = try await TestPipeline.start(.family("llama"))
        let deep = String(repeating: "[", count: 100_000)
        for schema in ["no json", "{\"type\": \"nonsense\"}", deep] {
            await #expect(throws: ShoalError.self) { try await pipeline.head.text(.grammar(jsonSchema: schema)) }
        }
        await #expect(throws: ShoalError.self) {
            try await pipeline.head.pieces(of: [TokenID(rawValue: -1)])
        }
    }
}
