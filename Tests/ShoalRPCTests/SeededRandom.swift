/// SplitMix64: the same seed gives the same sequence on every platform.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }
}

/// Cuts bytes into chunks of random sizes, empty ones among them.
func chunks(_ bytes: [UInt8], using random: inout SeededRandom) -> [ArraySlice<UInt8>] {
    var rest = bytes[...]
    var chunks: [ArraySlice<UInt8>] = []
    while !rest.isEmpty {
        let most = [1, 3, 10, 400, 5000].randomElement(using: &random) ?? 1
        let count = min(rest.count, Int.random(in: 0...most, using: &random))
        chunks.append(rest.prefix(count))
        rest = rest.dropFirst(count)
    }
    return chunks
}
