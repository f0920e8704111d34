import ShoalCore
import Testing

@testable import ShoalScheduling

/// Times as one thread of a processor needs them for half of a small model with its output matrix.
@Suite("Stage costs")
struct StageCostTests {
    private func seconds(_ tokens: Int, _ outputs: Int) -> Double {
        tokens == 1 ? 0.0045 : 0.002 + 0.0017 * Double(tokens) + 0.0019 * Double(outputs)
    }

    private func measure(_ batches: [(tokens: Int, outputs: Int)], _ cost: inout StageCost) {
        for (tokens, outputs) in batches {
            cost.add(tokenCount: tokens, outputCount: outputs, seconds: seconds(tokens, outputs))
        }
        cost.learn()
    }

    @Test("a prompt and single tokens tell what a group of answers will take")
    func unseenSize() throws {
        var cost = StageCost()
        measure([(30, 1), (9, 1)] + Array(repeating: (1, 1), count: 64), &cost)
        let four = cost.seconds(tokenCount: 4, outputCount: 4)
        // Nothing with several outputs was seen: between what tokens alone and twice as much would take.
        #expect(four > 0.004 && four < 2 * seconds(4, 4), "\(four)")
        #expect(abs(cost.seconds(tokenCount: 1, outputCount: 1) - seconds(1, 1)) < 1e-9)
    }

    @Test("tokens and outputs are told apart once both were seen")
    func fitted() throws {
        var cost = StageCost()
        measure([(64, 1), (16, 1), (4, 4), (4, 4), (1, 1)], &cost)
        for (tokens, outputs) in [(2, 2), (8, 8), (32, 1), (128, 0), (20, 4)] {
            let predicted = cost.seconds(tokenCount: Double(tokens), outputCount: Double(outputs))
            #expect(abs(predicted / seconds(tokens, outputs) - 1) < 0.15, "\(tokens), \(outputs): \(predicted)")
        }
    }

    @Test("few answers at once take what was measured of their number, not what a line through all sizes says")
    func exactSizes() throws {
        var cost = StageCost()
        let measured = [1: 0.0065, 2: 0.0137, 4: 0.0210, 8: 0.0370]
        for (size, seconds) in measured { cost.add(tokenCount: size, outputCount: size, seconds: seconds) }
        measure([(64, 1), (16, 1)], &cost)
        for (size, seconds) in measured {
            let predicted = cost.seconds(tokenCount: Double(size), outputCount: Double(size))
            #expect(abs(predicted / seconds - 1) < 1e-6, "\(size): \(predicted)")
        }
        let three = cost.seconds(tokenCount: 3, outputCount: 3)
        #expect(three > 0.0137 && three < 0.0210, "\(three)")
        // A prompt's few tokens want no outputs: another matter.
        #expect(cost.seconds(tokenCount: 4, outputCount: 0) < 0.0210)
    }

    @Test("one slow micro-batch of a size is forgotten as others of any size come")
    func outlier() throws {
        var cost = StageCost()
        cost.add(tokenCount: 4, outputCount: 4, seconds: 0.2)
        measure([(64, 1), (16, 1), (8, 8), (1, 1)], &cost)
        for _ in 0..<40 {
            cost.fade()
            measure([(64, 1), (16, 1), (8, 8), (2, 2)], &cost)
        }
        #expect(cost.seconds(tokenCount: 4, outputCount: 4) < 1.3 * seconds(4, 4))
    }

    @Test("a larger micro-batch never looks cheaper, whatever was measured")
    func neverFalling() throws {
        var cost = StageCost()
        cost.add(tokenCount: 2, outputCount: 2, seconds: 0.05)
        cost.add(tokenCount: 40, outputCount: 0, seconds: 0.01)
        cost.add(tokenCount: 1, outputCount: 1, seconds: 0.06)
        cost.learn()
        var last = 0.0
        for tokens in 1...64 {
            let next = cost.seconds(tokenCount: Double(tokens), outputCount: Double(tokens))
            #expect(next >= last)
            last = next
        }
    }
}
