import ShoalCore

/// The bounds a head schedules within. All are positive.
package struct HeadSchedulerConfiguration: Hashable, Sendable {
    /// The head node's name, told to clients in `GenerationEvent.started`.
    package var headName: String
    /// Tokens of one sequence, prompt and answer together.
    package var contextTokenCount: Int
    /// Sequences side by side; their IDs are `0..<sequenceCountMax`. At most `Limits.sequenceCountMax`.
    package var sequenceCountMax: Int
    /// KV cells of all sequences together, in every stage; at least `contextTokenCount`. A request reserves the cells
    /// of its prompt and of the longest answer it may give before it gets a sequence, so cells never run out half-way.
    package var kvTokenCapacity: Int
    /// Entries of one micro-batch; at most `Limits.microBatchTokenCountMax`. More than `sequenceCountMax`, so that
    /// decode tokens, which come first, always leave room for a prompt.
    package var microBatchTokenCountMax: Int
    /// Prompt tokens of one micro-batch, all prompts together. Smaller keeps the pace of running answers while a long
    /// prompt comes in; larger reads the prompt faster.
    package var promptChunkTokenCountMax: Int
    /// Micro-batches under way at once. One fills a single stage; a pipeline wants at least one per stage.
    package var microBatchesInFlightMax: Int
    /// Requests that wait for a sequence.
    package var queuedRequestCountMax: Int
    /// Tokens of text that a request may be ahead of its reader before its sequence pauses.
    package var unacknowledgedTokenCountMax: Int
    /// Whether the stages can shorten a sequence; false for recurrent families. Whole sequences can always be removed,
    /// which is all that is done now.
    package var canRemovePartialSequences: Bool
    /// How often everything under way may fail, one after another, before the pipeline counts as broken.
    package var failedRoundCountMax: Int

    /// `kvTokenCapacity` starts as room for every sequence at full length.
    package init(headName: String, contextTokenCount: Int, sequenceCountMax: Int) {
        self.headName = headName
        self.contextTokenCount = contextTokenCount
        self.sequenceCountMax = sequenceCountMax
        kvTokenCapacity = contextTokenCount * sequenceCountMax
        microBatchTokenCountMax = 512
        promptChunkTokenCountMax = 128
        microBatchesInFlightMax = 2
        queuedRequestCountMax = Limits.queuedRequestCountMax
        unacknowledgedTokenCountMax = Limits.unacknowledgedTokenCountMax
        canRemovePartialSequences = true
        failedRoundCountMax = 3
    }

    /// Whether the bounds fit each other and the global ones.
    var isConsistent: Bool {
        (2...Limits.contextTokenCountMax).contains(contextTokenCount)
            && (1...Limits.sequenceCountMax).contains(sequenceCountMax)
            && kvTokenCapacity >= contextTokenCount
            && (sequenceCountMax + 1...Limits.microBatchTokenCountMax).contains(microBatchTokenCountMax)
            && promptChunkTokenCountMax > 0 && microBatchesInFlightMax > 0 && queuedRequestCountMax > 0
            && unacknowledgedTokenCountMax > 0 && failedRoundCountMax > 0
    }
}
