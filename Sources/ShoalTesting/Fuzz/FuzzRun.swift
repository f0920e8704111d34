internal import Logging

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// How long and from which seed inputs are made up. `make fuzz` sets the variables; a plain test run is short and the
/// same every time.
package struct FuzzRun: Sendable {
    package let seed: UInt64
    package let iterationCount: Int

    /// From `SHOAL_SEED` and `SHOAL_FUZZ_ITERATIONS`. Says so at once, because what traps says nothing afterwards.
    package init(of target: String, defaultIterationCount: Int = 400) {
        let environment = ProcessInfo.processInfo.environment
        seed = environment["SHOAL_SEED"].flatMap { UInt64($0) } ?? 1
        iterationCount = environment["SHOAL_FUZZ_ITERATIONS"].flatMap { Int($0) } ?? defaultIterationCount
        Logger(label: "fuzzing").info("\(target): SHOAL_SEED=\(seed) SHOAL_FUZZ_ITERATIONS=\(iterationCount)")
    }

    /// One generator per iteration, so that a failing one can be looked at alone.
    package func generator(iteration: Int) -> SeededGenerator {
        SeededGenerator(seed: seed &+ UInt64(bitPattern: Int64(iteration)) &* 0x2545_F491_4F6C_DD1D)
    }
}

/// SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
