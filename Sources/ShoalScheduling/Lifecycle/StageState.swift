package import ShoalCore

/// One stage as the owner of the instance sees it.
package struct StageState: Hashable, Sendable {
    /// What the stage's engine is doing. Generations are those of the command that it follows.
    package enum Condition: Hashable, Sendable {
        /// No engine runs.
        case absent
        /// The engine's process is being started.
        case starting(generation: UInt32)
        case loading(generation: UInt32)
        case loaded(generation: UInt32)
        case resetting(generation: UInt32)
        case unloading
    }

    package internal(set) var condition = Condition.absent
    /// 0 to 1.
    package internal(set) var loadProgress: Double = 0
    /// Engines started after the first one.
    package internal(set) var restartCount = 0
    /// Of the command that made the present engine, or the last one; zero before the first.
    package internal(set) var engineGeneration: UInt32 = 0
    /// Why the stage was lost or could not be loaded; nil once it is loaded again.
    package internal(set) var problem: ShoalError?
    /// Since when its node cannot be reached; nil when it can, as far as is known.
    package internal(set) var lostSince: Duration?

    var loadGeneration: UInt32? {
        switch condition {
        case .starting(let generation), .loading(let generation): generation
        case .absent, .loaded, .resetting, .unloading: nil
        }
    }
}
