import Foundation
import ShoalCore
import ShoalEngine
import Testing

/// Splitting a model changes no bit of its logits.
@Suite("Stages against the unsplit model", .serialized)
struct SplitEqualityTests {
    /// A model and where it is cut.
    struct Case: Sendable, CustomTestStringConvertible {
        var model: TestModel
        var cuts: [[Int]]

        var testDescription: String { "\(model.name) cut at \(cuts)" }
    }

    private static let cases =
        TestModel.families.map { Case(model: $0, cuts: [[$0.layerCount / 2], [2, $0.layerCount - 1]]) } + [
            Case(model: .family("qwen3"), cuts: [[]]),
            Case(model: .family("llama-split-00002-of-00003"), cuts: [[1, 4]]),
            Case(model: .reference, cuts: [[1], [10, 20], [14, 29]]),
        ]

    @Test("prefill in chunks, decode and mixed sequences give the same logits, bit for bit", arguments: cases)
    func isExact(_ tested: Case) async throws {
        let whole = try await TestPipeline.start(tested.model, loader: .ordinary)
        let script = Self.script(vocabularyTokenCount: whole.loaded[0].vocabularyTokenCount)
        let expected = try await outputs(of: script, from: whole)
        #expect(expected.reduce(0) { $0 + $1.logits.count } == 37)
        for cuts in tested.cuts {
            let actual = try await outputs(of: script, from: TestPipeline.start(tested.model, cutAt: cuts))
            for (actual, expected) in zip(actual, expected) {
                #expect(actual.tokens.map(\.token) == expected.tokens.map(\.token), "cut at \(cuts)")
                #expect(largestDifference(expected.logits, actual.logits) == 0, "cut at \(cuts)")
            }
        }
    }

    private func outputs(
        of script: [[BatchEntry]], from pipeline: TestPipeline
    ) async throws -> [TestPipeline.Outputs] {
        var outputs: [TestPipeline.Outputs] = []
        for entries in script { outputs.append(try await pipeline.run(entries)) }
        return outputs
    }

    /// A prompt in two chunks, single tokens, two more prompts in one micro-batch, then all three sequences together.
    private static func script(vocabularyTokenCount: Int) -> [[BatchEntry]] {
        var generator = SeededTokens(vocabularyTokenCount: vocabularyTokenCount)
        func entries(_ count: Int, _ sequence: Int32, _ position: Int32, wantsOutput: Bool = true) -> [BatchEntry] {
            TestPipeline.entries(
                generator.next(count), sequence: sequence, from: position, wantsOutput: wantsOutput)
        }
        var script = [entries(17, 0, 0, wantsOutput: false), entries(9, 0, 17)]
        for position in Int32(26)..<29 { script.append(entries(1, 0, position)) }
        script.append(entries(5, 1, 0) + entries(11, 2, 0))
        for step in Int32(0)..<3 {
            script.append(entries(1, 0, 29 + step) + entries(1, 1, 5 + step) + entries(1, 2, 11 + step))
        }
        return script
    }

}

/// Tokens from a fixed seed.
struct SeededTokens {
    private let vocabularyTokenCount: UInt32
    private var state: UInt32

    init(vocabularyTokenCount: Int, seed: UInt32 = 12345) {
        self.vocabularyTokenCount = UInt32(vocabularyTokenCount)
        state = seed
    }

    /// Numerical Recipes' linear congruential generator.
    mutating func next(_ count: Int) -> [TokenID] {
        (0..<count).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return TokenID(rawValue: Int32((state >> 8) % vocabularyTokenCount))
        }
    }
}

/// Zero only when both have the same rows, bit for bit; infinite when their shapes differ.
func largestDifference(_ left: [[Float]], _ right: [[Float]]) -> Float {
    guard left.map(\.count) == right.map(\.count) else { return .infinity }
    var worst: Float = 0
    for (left, right) in zip(left, right) where !isIdentical(left, right) {
        worst = zip(left, right).reduce(max(worst, .leastNonzeroMagnitude)) { max($0, abs($1.0 - $1.1)) }
    }
    return worst
}

/// Byte by byte: quick without optimization, and it tells zero from minus zero.
private func isIdentical(_ left: [Float], _ right: [Float]) -> Bool {
    left.withUnsafeBytes { left in
        right.withUnsafeBytes { right in
            guard let left = left.baseAddress, let other = right.baseAddress else { return true }
            return memcmp(left, other, right.count) == 0
        }
    }
}
