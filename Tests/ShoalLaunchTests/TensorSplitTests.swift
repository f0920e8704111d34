import ShoalCore
import ShoalLaunch
import Testing

@Suite("Tensor split")
struct TensorSplitTests {
    @Test("shares add up to one, and none is nothing")
    func sums() throws {
        for counts in [[15, 15], [10, 10, 10], [1, 1], [30], [1, 29], [80, 1, 1, 1]] {
            let split = try TensorSplit(localLayerCount: 0, deviceLayerCounts: counts)
            #expect(split.shares.count == counts.count)
            #expect(abs(split.shares.reduce(0, +) - 1) < 0.005)
            #expect(split.shares.allSatisfy { $0 > 0 })
        }
    }

    @Test("llama-server puts every layer on the planned device, whatever the numbers, after rounding to text")
    func placement() throws {
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<2000 {
            let count = Int.random(in: 1...TensorSplit.deviceCountMax, using: &generator)
            let layers = (0..<count).map { _ in Int.random(in: 1...40, using: &generator) }
            let split = try TensorSplit(
                localLayerCount: Int.random(in: 0...20, using: &generator), deviceLayerCounts: layers)
            let shares = split.text.split(separator: ",").compactMap { Float($0) }
            let planned = layers.enumerated().flatMap { Array(repeating: $0.offset, count: $0.element) } + [count - 1]
            let actual = TensorSplit.devices(shares: shares, offloadedLayerCount: split.offloadedLayerCount)
            #expect(actual == planned, "\(layers) as \(split.text)")
        }
    }

    @Test("a device without layers, and more devices than llama.cpp takes, are refused")
    func refusals() {
        #expect(throws: ShoalError.self) { try TensorSplit(localLayerCount: 1, deviceLayerCounts: [3, 0]) }
        #expect(throws: ShoalError.self) {
            try TensorSplit(localLayerCount: 0, deviceLayerCounts: Array(repeating: 1, count: 16))
        }
    }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
