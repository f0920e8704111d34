package import ShoalCore

/// Remembers where the time of a head's latest requests went, as a value: fed with what is sent and what comes back.
///
/// Costs a dictionary look-up per micro-batch and request, and bounded memory; it is always on.
package struct RequestTracer: Sendable {
    /// What is known about one request.
    package struct Trace: Sendable {
        package let request: RequestID
        package var prompt = TraceReport.Part()
        package var decode = TraceReport.Part()
        package let startedAt: Duration
        /// When the last token came; nil before the first.
        fileprivate var lastTokenAt: Duration?

        fileprivate init(request: RequestID, startedAt: Duration) {
            self.request = request
            self.startedAt = startedAt
        }
    }

    private struct Share: Sendable {
        var request: RequestID
        var sequence: SequenceID
        /// Entries of the micro-batch; with guesses more than come out of it.
        var tokenCount: Int
        var wantsOutput: Bool
    }

    private struct Sent: Sendable {
        var at: Duration
        var shares: [Share]
    }

    /// Requests that are remembered; the oldest is forgotten first.
    package static let traceCountMax = 64
    /// Micro-batches that are waited for; a pipeline has far fewer under way.
    private static let batchCountMax = 1024

    private var sent: [UInt64: Sent] = [:]
    /// Oldest first.
    private var order: [RequestID] = []
    private var traces: [RequestID: Trace] = [:]

    package init() {}

    /// Latest first.
    package var latest: [Trace] { order.reversed().compactMap { traces[$0] } }

    /// A micro-batch leaves the head. `owner` says whose a sequence is now.
    package mutating func sending(_ batch: MicroBatch, now: Duration, owner: (SequenceID) -> RequestID?) {
        var shares: [SequenceID: Share] = [:]
        for entry in batch.entries {
            if shares[entry.sequence] == nil {
                guard let request = owner(entry.sequence) else { continue }
                shares[entry.sequence] = Share(
                    request: request, sequence: entry.sequence, tokenCount: 0, wantsOutput: false)
            }
            shares[entry.sequence]?.tokenCount += 1
            if entry.wantsOutput { shares[entry.sequence]?.wantsOutput = true }
        }
        guard !shares.isEmpty, sent.count < Self.batchCountMax else { return }
        for share in shares.values { begin(share.request, now: now) }
        sent[batch.number] = Sent(at: now, shares: Array(shares.values))
    }

    /// Its outputs came; `stages` are the times of the stages that it went through.
    package mutating func arrived(
        batchNumber: UInt64, tokens: [SampledToken], stages: [StageTimes], now: Duration
    ) {
        guard let batch = sent.removeValue(forKey: batchNumber) else { return }
        let roundTrip = Int(StageTimes.microseconds(now - batch.at))
        for share in batch.shares {
            traces[share.request]?.add(
                stages, roundTrip: roundTrip, sentAt: batch.at, enteredCount: share.tokenCount,
                sampledCount: tokens.count { $0.sequence == share.sequence }, wantsOutput: share.wantsOutput, now: now)
        }
    }

    /// What is under way does not come back.
    package mutating func pipelineLost() { sent = [:] }

    private mutating func begin(_ request: RequestID, now: Duration) {
        guard traces[request] == nil else { return }
        if order.count >= Self.traceCountMax { traces[order.removeFirst()] = nil }
        order.append(request)
        traces[request] = Trace(request: request, startedAt: now)
    }
}

extension RequestTracer.Trace {
    fileprivate mutating func add(
        _ stages: [StageTimes], roundTrip: Int, sentAt: Duration, enteredCount: Int, sampledCount: Int,
        wantsOutput: Bool, now: Duration
    ) {
        if let lastTokenAt {
            decode.add(stages, roundTrip: roundTrip)
            decode.tokenCount += sampledCount
            decode.head += Int(StageTimes.microseconds(sentAt - lastTokenAt))
            decode.elapsed += Int(StageTimes.microseconds(now - lastTokenAt))
        } else {
            prompt.add(stages, roundTrip: roundTrip)
            prompt.tokenCount += enteredCount
            if wantsOutput { prompt.elapsed = Int(StageTimes.microseconds(now - startedAt)) }
        }
        if wantsOutput { lastTokenAt = now }
    }
}
