/// What one micro-batch cost in one stage: durations, never instants, so that no two nodes' clocks are compared.
///
/// All in microseconds of that stage's own clock.
package struct StageTimes: Hashable, Sendable, Codable {
    /// Behind earlier micro-batches, as the node sees it: until the engine had answered those. Zero until the node has
    /// filled it in.
    package var queue: UInt32
    /// Tokens to input rows; first stage only.
    package var embed: UInt32
    /// Inside `llama_decode`.
    package var compute: UInt32
    /// Choosing tokens from logits; last stage only.
    package var sample: UInt32
    /// Tokens to text; last stage only.
    package var detokenize: UInt32
    /// From handing the frame to the engine to having its answer, as the node sees it: all of the above, and the way
    /// between the two processes. Zero until the node has filled it in.
    package var engine: UInt32
    /// The last measured round trip of the link to the next stage; zero in the last stage, or when there is none yet.
    package var link: UInt32

    package init(
        queue: UInt32 = 0, embed: UInt32 = 0, compute: UInt32 = 0, sample: UInt32 = 0, detokenize: UInt32 = 0,
        engine: UInt32 = 0, link: UInt32 = 0
    ) {
        self.queue = queue
        self.embed = embed
        self.compute = compute
        self.sample = sample
        self.detokenize = detokenize
        self.engine = engine
        self.link = link
    }

    /// Of this micro-batch alone, as the engine sees it.
    package var secondsOfWork: Double { Double(Int(embed) + Int(compute) + Int(sample) + Int(detokenize)) / 1e6 }

    /// Waiting included; as the engine sees it where the node has not filled in what it sees.
    package var secondsInEngine: Double {
        Double(max(engine, UInt32(clamping: [queue, embed, compute, sample, detokenize].reduce(0) { $0 + Int($1) })))
            / 1e6
    }

    /// A duration as these fields hold it; what does not fit is the nearest that does.
    package static func microseconds(_ duration: Duration) -> UInt32 {
        let (seconds, attoseconds) = duration.components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        guard seconds < Int64(UInt32.max / 1_000_000) else { return .max }
        return UInt32(seconds) * 1_000_000 + UInt32(attoseconds / 1_000_000_000_000)
    }
}
