package import ShoalCore

/// What the head's actor does for an instance's lifecycle, in the order given. Stages are named by index.
package enum InstanceLifecycleAction: Hashable, Sendable {
    /// Start an engine and load the stage's layers, for a pipeline of this generation. Answered by
    /// `stageEngineStarted`, `stageLoadProgressed`, `stageLoaded`, or `stageFailed`; by `stageLost` at any time.
    case loadStage(Int, generation: UInt32)
    /// Forget all sequences and samplers; frames of older generations are dropped from then on. Answered by
    /// `stageReset` or `stageFailed`.
    case resetStage(Int, generation: UInt32)
    /// Stop the engine and free what it holds; none may be running. Answered by `stageUnloaded`.
    case unloadStage(Int)
    /// Send something through all stages. Answered by `warmUpSucceeded` or `warmUpFailed`.
    case runWarmUp(generation: UInt32)
    /// Call `retryTimerFired` with this number after the delay; earlier timers are void.
    case scheduleRetry(after: Duration, number: Int)
    /// Requests may run in this generation.
    case becomeReady(generation: UInt32)
    /// What is under way in the pipeline is lost. Running requests wait for `becomeReady`, or end with this after
    /// `becameFailed` or a stop.
    case failRequests(ShoalError)
    /// The instance gave up; its stages are being unloaded.
    case becameFailed(ShoalError)
    /// Every stage is unloaded after `stop`.
    case becameStopped
}
