internal import ShoalEngine
internal import ShoalWire

/// Work for the engine thread, in the order it came.
enum EngineJob: Sendable {
    case microBatch(Frame, MicroBatchDescription, arrivedAt: ContinuousClock.Instant)
    case request(Frame, EngineRequest)
}

/// Work for the text thread.
struct TextJob: Sendable {
    var frame: Frame
    var request: EngineRequest
}
