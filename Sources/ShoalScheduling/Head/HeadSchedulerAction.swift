package import ShoalCore

/// What the head's actor does for its scheduler, in the order given.
package enum HeadSchedulerAction: Hashable, Sendable {
    /// Hand this to stage 0. Every micro-batch, empty ones too, is answered by `outputsArrived` or `batchFailed`.
    case send(MicroBatch)
    /// Give the sequence its own sampler in the last stage, which knows the history, before the micro-batches that
    /// follow.
    case configureSampler(SequenceID, SamplingParameters, SamplerHistory)
    case releaseSampler(SequenceID)
    /// Hand this to the draft model, which `draftReady` said there is. Answered by `draftOutputsArrived` or
    /// `draftFailed`.
    case draft(MicroBatch)
    /// The draft model cannot be trusted any more: start it anew, then call `draftReady`. Answers go on without.
    case draftBroken(ShoalError)
    /// Tell the request's reader. Exactly one terminal event per request that `submit` accepted.
    case emit(RequestID, GenerationEvent)
    /// The stages cannot be trusted any more: rebuild the pipeline, then call `pipelineReady`. Nothing is sent until
    /// then; running requests go on afterwards.
    case pipelineBroken(ShoalError)
    /// After `drain`: the last request has ended.
    case drained
}
