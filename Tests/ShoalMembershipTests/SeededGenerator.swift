import Foundation
import ShoalCore

/// SplitMix64: the same seed, the same run. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", 2014.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mix = state
        mix = (mix ^ (mix >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mix = (mix ^ (mix >> 27)) &* 0x94D0_49BB_1331_11EB
        return mix ^ (mix >> 31)
    }

    mutating func chance(_ percent: Int) -> Bool { percent > 0 && Int(next() % 100) < percent }
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
    mutating func between(_ low: Int, _ high: Int) -> Int { low + below(high - low + 1) }
}

/// Seeds of a randomised test: those given, or the one in `SHOAL_SEED` to replay a failure.
func seeds(_ range: Range<UInt64>) -> [UInt64] {
    if let text = ProcessInfo.processInfo.environment["SHOAL_SEED"], let seed = UInt64(text) { return [seed] }
    return Array(range)
}

/// The id of the node with this index: in order of the indices.
func nodeID(_ index: Int) -> NodeID {
    guard let id = NodeID(String(0x1000 + index, radix: 16)) else { preconditionFailure("a hexadecimal number") }
    return id
}

/// The code of what `attempt` throws, nil if it does not.
func refusal(_ attempt: () throws -> Void) -> ShoalError.Code? {
    do { try attempt() } catch { return (error as? ShoalError)?.code }
    return nil
}
