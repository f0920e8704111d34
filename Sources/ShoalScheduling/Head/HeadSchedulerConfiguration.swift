package import ShoalCore

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
    /// Prompt tokens of one micro-batch, all prompts together, at most; how many it are follows from measured times.
    package var promptChunkTokenCountMax: Int
    /// What prompts may take of the slowest stage's time while answers are running, percent: 1 to 99.
    package var promptSharePercentMax: Int
    /// Stages that a micro-batch passes.
    package var stageCount: Int
    /// Micro-batches under way at once, at most. As many as fill the pipeline are used; one per stage until stages and
    /// links were measured.
    package var microBatchesInFlightMax: Int
    /// Requests that wait for a sequence.
    package var queuedRequestCountMax: Int
    /// Tokens of text that a request may be ahead of its reader before its sequence pauses.
    package var unacknowledgedTokenCountMax: Int
    /// Whether the stages can shorten a sequence; false for recurrent families, whose sequences can only be continued,
    /// copied and removed as a whole.
    package var canRemovePartialSequences: Bool
    /// For requests that do not say. Nothing is guessed where sequences cannot be shortened.
    package var speculation: SpeculationMode
    /// Tokens that may be guessed: the draft model may know more.
    package var vocabularyTokenCount: Int
    /// Entries of one micro-batch that may want an output; more than `sequenceCountMax`.
    package var outputCountMax: Int
    /// Tokens that a prompt must share with a sequence before its cells are reused; fewer are not worth a cut of the
    /// prompt's first micro-batch.
    package var reusedTokenCountMin: Int
    /// How often the pipeline may be lost under one request before it counts as the request's doing. A request whose
    /// answer grew by `lossProgressTokenCount` tokens in between starts counting anew.
    package var lossCountMax: Int
    package var lossProgressTokenCount: Int
    /// How often everything under way may fail, one after another, before the pipeline counts as broken.
    package var failedRoundCountMax: Int

    /// `kvTokenCapacity` starts as room for every sequence at full length.
    package init(headName: String, contextTokenCount: Int, sequenceCountMax: Int) {
        self.headName = headName
        self.contextTokenCount = contextTokenCount
        self.sequenceCountMax = sequenceCountMax
        kvTokenCapacity = contextTokenCount * sequenceCountMax
        microBatchTokenCountMax = 512
        promptChunkTokenCountMax = 512
        promptSharePercentMax = 50
        stageCount = 2
        microBatchesInFlightMax = 64
        queuedRequestCountMax = Limits.queuedRequestCountMax
        unacknowledgedTokenCountMax = Limits.unacknowledgedTokenCountMax
        canRemovePartialSequences = true
        speculation = .auto
        vocabularyTokenCount = .max
        outputCountMax = 512
        reusedTokenCountMin = 8
        lossCountMax = 2
        lossProgressTokenCount = 16
        failedRoundCountMax = 3
    }

    /// Whether the bounds fit each other and the global ones.
    var isConsistent: Bool {
        (2...Limits.contextTokenCountMax).contains(contextTokenCount)
            && (1...Limits.sequenceCountMax).contains(sequenceCountMax)
            && kvTokenCapacity >= contextTokenCount
            && (sequenceCountMax + 1...Limits.microBatchTokenCountMax).contains(microBatchTokenCountMax)
            && (1...Limits.stageCountMax).contains(stageCount) && (1...99).contains(promptSharePercentMax)
            && outputCountMax > sequenceCountMax && reusedTokenCountMin > 0 && lossCountMax >= 0
            && lossProgressTokenCount > 0
            && promptChunkTokenCountMax > 0 && microBatchesInFlightMax > 0 && queuedRequestCountMax > 0
            && unacknowledgedTokenCountMax > 0 && failedRoundCountMax > 0
    }
}
