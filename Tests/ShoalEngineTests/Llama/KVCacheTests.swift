import ShoalCore
import ShoalEngine
import Testing

@Suite("KV operations of a real engine", .serialized)
struct KVCacheTests {
    private static let prompt = (10..<22).map(TokenID.init(rawValue:))

    private static func sequence(_ number: Int32) -> SequenceID { SequenceID(rawValue: number) }

    private func prefill(_ pipeline: TestPipeline, _ sequence: Int32) async throws {
        _ = try await pipeline.run(TestPipeline.entries(Self.prompt, sequence: sequence, from: 0, wantsOutput: false))
    }

    /// Logits for one token behind the prompt.
    private func next(
        _ pipeline: TestPipeline, _ token: Int32, sequence: Int32, at position: Int32 = 12,
        kvOperations: [KVOperation] = []
    ) async throws -> [[Float]] {
        let entries = TestPipeline.entries([TokenID(rawValue: token)], sequence: sequence, from: position)
        return try await pipeline.run(entries, kvOperations: kvOperations).logits
    }

    @Test("a copied sequence goes on as the original would", arguments: ["llama", "mamba"])
    func copyForks(_ family: String) async throws {
        let control = try await TestPipeline.start(.family(family), cutAt: [3])
        try await prefill(control, 0)
        let expected = try await next(control, 7, sequence: 0)
        let forked = try await TestPipeline.start(.family(family), cutAt: [3])
        try await prefill(forked, 0)
        let copy = KVOperation.copy(source: Self.sequence(0), destination: Self.sequence(1), from: 0, to: .max)
        let actual = try await next(forked, 7, sequence: 1, kvOperations: [copy])
        #expect(largestDifference(expected, actual) == 0)
        // The original is untouched by what its copy did.
        let original = try await next(forked, 7, sequence: 0)
        #expect(zip(original[0], expected[0]).allSatisfy { abs($0 - $1) < 1e-4 })
    }

    @Test("a copy of the beginning goes on as a sequence that had only that")
    func copyOfABeginning() async throws {
        let control = try await TestPipeline.start(.family("llama"), cutAt: [3])
        try await prefill(control, 0)
        let removal = KVOperation.remove(Self.sequence(0), from: 5, to: .max)
        let expected = try await next(control, 7, sequence: 0, at: 5, kvOperations: [removal])
        let forked = try await TestPipeline.start(.family("llama"), cutAt: [3])
        try await prefill(forked, 0)
        let copy = KVOperation.copy(source: Self.sequence(0), destination: Self.sequence(2), from: 0, to: 5)
        // The source may be overwritten in the same breath.
        let operations = [copy, .removeAll(Self.sequence(0))]
        let actual = try await next(forked, 7, sequence: 2, at: 5, kvOperations: operations)
        #expect(largestDifference(expected, actual) == 0)
    }

    @Test("sequences in one micro-batch, neighbours or not, of any lengths and in any order, get what each gets alone")
    func severalSequences() async throws {
        let together = try await TestPipeline.start(.family("llama"), cutAt: [3])
        var expected: [[Float]] = []
        let order: [Int32] = [2, 0, 3, 1]
        for sequence in order {
            let alone = try await TestPipeline.start(.family("llama"), cutAt: [3])
            let count = sequence == 3 ? 4 : 12
            _ = try await alone.run(
                TestPipeline.entries(Array(Self.prompt.prefix(count)), sequence: 0, from: 0, wantsOutput: false))
            expected += try await next(alone, 20 + sequence, sequence: 0, at: Int32(count))
        }
        // Twelve tokens of each, four of one; then one of each, and last of two that are no neighbours.
        let prompts = order.flatMap { sequence in
            let tokens = Array(Self.prompt.prefix(sequence == 3 ? 4 : 12))
            return TestPipeline.entries(tokens, sequence: sequence, from: 0, wantsOutput: false)
        }
        _ = try await together.run(prompts)
        let latest = order.flatMap { sequence in
            TestPipeline.entries(
                [TokenID(rawValue: 20 + sequence)], sequence: sequence, from: sequence == 3 ? 4 : 12)
        }
        let actual = try await together.run(latest).logits
        #expect(actual.count == expected.count)
        for (one, other) in zip(actual, expected) {
            let difference = zip(one, other).map { abs($0 - $1) }.max() ?? .infinity
            #expect(difference < 1e-4)
        }
        let apart = [Int32(3), 1].flatMap { sequence in
            TestPipeline.entries([TokenID(rawValue: 9)], sequence: sequence, from: sequence == 3 ? 5 : 13)
        }
        #expect(try await together.run(apart).logits.count == 2)
    }

    @Test("what other sequences hold changes not a bit of an answer")
    func othersChangeNothing() async throws {
        let alone = try await TestPipeline.start(.family("llama"), cutAt: [3])
        try await prefill(alone, 1)
        let expected = try await next(alone, 7, sequence: 1)
        let crowded = try await TestPipeline.start(.family("llama"), cutAt: [3])
        for sequence in [Int32(0), 2, 1] { try await prefill(crowded, sequence) }
        #expect(largestDifference(expected, try await next(crowded, 7, sequence: 1)) == 0)
    }

    @Test("a sequence that is shortened goes on as if the removed positions had never been")
    func removeShortens() async throws {
        let control = try await TestPipeline.start(.family("llama"), cutAt: [3])
        try await prefill(control, 0)
        let expected = try await next(control, 7, sequence: 0)
        let shortened = try await TestPipeline.start(.family("llama"), cutAt: [3])
        try await prefill(shortened, 0)
        for step in Int32(0)..<3 { _ = try await next(shortened, 40 + step, sequence: 0, at: 12 + step) }
        let removal = KVOperation.remove(Self.sequence(0), from: 12, to: .max)
        let actual = try await next(shortened, 7, sequence: 0, kvOperations: [removal])
        #expect(largestDifference(expected, actual) == 0)
    }

    @Test("keep, remove and clear leave the sequences that they should, in every stage")
    func statusShowsSequences() async throws {
        let pipeline = try await TestPipeline.start(.family("llama"), cutAt: [3])
        for sequence in Int32(0)..<3 { try await prefill(pipeline, sequence) }
        #expect(try await sequencesInUse(pipeline) == [[0, 1, 2], [0, 1, 2]])
        _ = try await pipeline.run([], kvOperations: [.removeAll(Self.sequence(0))])
        #expect(try await sequencesInUse(pipeline) == [[1, 2], [1, 2]])
        _ = try await pipeline.run([], kvOperations: [.keep(Self.sequence(2))])
        #expect(try await sequencesInUse(pipeline) == [[2], [2]])
        _ = try await pipeline.run([], kvOperations: [.clear])
        #expect(try await sequencesInUse(pipeline) == [[], []])
    }

    private func sequencesInUse(_ pipeline: TestPipeline) async throws -> [[Int32]] {
        var all: [[Int32]] = []
        for engine in pipeline.engines { all.append(try await engine.status().sequencesInUse.map(\.rawValue)) }
        return all
    }

    @Test("a recurrent family refuses to shorten a sequence, says so, and still forgets whole ones")
    func recurrentFamilyRefusesPartialRemoval() async throws {
        let pipeline = try await TestPipeline.start(.family("mamba"), cutAt: [3])
        #expect(pipeline.loaded.map(\.canRemovePartialSequences) == [false, false])
        try await prefill(pipeline, 0)
        let error = await #expect(throws: ShoalError.self) {
            try await pipeline.run([], kvOperations: [.remove(Self.sequence(0), from: 6, to: .max)])
        }
        #expect(error?.message.contains("mamba keeps a recurrent state") == true)
        _ = try await pipeline.run([], kvOperations: [.remove(Self.sequence(0), from: 0, to: 12)])
        #expect(try await sequencesInUse(pipeline) == [[], []])
    }

    @Test("what a stage cannot do is refused with the value, and the engine lives on")
    func refusals() async throws {
        let pipeline = try await TestPipeline.start(.family("llama"), cutAt: [3])
        try await prefill(pipeline, 0)
        try await prefill(pipeline, 1)
        let token = TokenID(rawValue: 5)
        let far = BatchEntry(sequence: Self.sequence(0), position: 128, token: token, wantsOutput: true)
        let gap = BatchEntry(sequence: Self.sequence(0), position: 20, token: token, wantsOutput: true)
        let stranger = BatchEntry(sequence: Self.sequence(4), position: 0, token: token, wantsOutput: true)
        let word = BatchEntry(
            sequence: Self.sequence(0), position: 12, token: TokenID(rawValue: 32000), wantsOutput: true)
        let copy = KVOperation.copy(source: Self.sequence(0), destination: Self.sequence(1), from: 0, to: 4)
        let late = KVOperation.copy(source: Self.sequence(0), destination: Self.sequence(3), from: 2, to: 4)
        let removal = KVOperation.removeAll(Self.sequence(200))
        try await refuses(pipeline, .contextOverflow, "position 128 of sequence 0", [far])
        try await refuses(pipeline, .invalidRequest, "llama_decode returned -1", [gap])
        try await refuses(pipeline, .invalidRequest, "sequence 4", [stranger])
        try await refuses(pipeline, .invalidRequest, "token 32000", [word])
        try await refuses(pipeline, .invalidRequest, "sequence 1, which has 12 already", [], [copy])
        try await refuses(pipeline, .invalidRequest, "copies begin at position 0", [], [late])
        try await refuses(pipeline, .invalidRequest, "sequence 200", [], [removal])
        let many = TestPipeline.entries(Array(repeating: token, count: 65), sequence: 2, from: 0)
        try await refuses(pipeline, .invalidRequest, "65 entries", many)
        #expect(try await next(pipeline, 7, sequence: 0).count == 1)
    }

    private func refuses(
        _ pipeline: TestPipeline, _ code: ShoalError.Code, _ part: String, _ entries: [BatchEntry],
        _ kvOperations: [KVOperation] = []
    ) async throws {
        let error = await #expect(throws: ShoalError.self) {
            try await pipeline.run(entries, kvOperations: kvOperations)
        }
        #expect(error?.code == code)
        #expect(error?.message.contains(part) == true, "\(error?.message ?? "")")
    }

    @Test("a full pool of KV cells is an error, and freeing a sequence makes room")
    func fullPool() async throws {
        // libllama rounds a pool up to 256 cells.
        let pipeline = try await TestPipeline.start(.family("llama"), cutAt: [3]) { request in
            request.contextTokenCount = 256
            request.sequenceCountMax = 1
        }
        let tokens = Array(repeating: TokenID(rawValue: 9), count: 64)
        for start in stride(from: Int32(0), to: 256, by: 64) {
            _ = try await pipeline.run(TestPipeline.entries(tokens, from: start, wantsOutput: false))
        }
        let error = await #expect(throws: ShoalError.self) { try await next(pipeline, 7, sequence: 0, at: 256) }
        #expect(error?.code == .contextOverflow)
        let removal = KVOperation.removeAll(Self.sequence(0))
        #expect(try await next(pipeline, 7, sequence: 0, at: 0, kvOperations: [removal]).count == 1)
    }

    @Test("every sequence can fill its whole context at once")
    func fullContexts() async throws {
        let pipeline = try await TestPipeline.start(.family("llama"), cutAt: [3])
        let tokens = Array(repeating: TokenID(rawValue: 9), count: 64)
        for sequence in Int32(0)..<4 {
            for start in [Int32(0), 64] {
                _ = try await pipeline.run(
                    TestPipeline.entries(tokens, sequence: sequence, from: start, wantsOutput: false))
            }
        }
        #expect(try await sequencesInUse(pipeline) == [[0, 1, 2, 3], [0, 1, 2, 3]])
    }
}
