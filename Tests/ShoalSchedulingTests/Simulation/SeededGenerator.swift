import Foundation

/// SplitMix64: the same seed, the same run. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", 2014.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return SeededGenerator.mixed(state)
    }

    static func mixed(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
}

/// Seeds of a randomised test: those given, or the one in `SHOAL_SEED` to replay a failure.
func seeds(_ range: Range<UInt64>) -> [UInt64] {
    if let text = ProcessInfo.processInfo.environment["SHOAL_SEED"], let seed = UInt64(text) { return [seed] }
    return Array(range)
}
