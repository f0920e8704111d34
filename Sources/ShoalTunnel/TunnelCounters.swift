package import ShoalRPC

/// What one end of a tunnel has done so far. A copy; instants are of the continuous clock of this process.
package struct TunnelCounters: Sendable, Hashable {
    /// Commands, weights, graph computes. The worker's end knows only the weights, and of those not `allByteCount`.
    package var traffic = RPCTraffic()
    /// Over the connection between the two ends, headers included, TLS not.
    package var sentByteCount = 0
    package var receivedByteCount = 0
    /// Sessions of llama-server that are open here.
    package var openSessionCount = 0
    /// Sessions so far, and those of them that needed the other end.
    package var sessionCount = 0
    package var connectedSessionCount = 0
    /// Whether an open session is not understood any more.
    package var isPassThrough = false
    /// When bytes of llama-server, or replies for it, were last seen.
    package var lastRequest: ContinuousClock.Instant?
    package var lastReply: ContinuousClock.Instant?
    /// When the last GRAPH_COMPUTE or GRAPH_RECOMPUTE went by.
    package var lastGraphCompute: ContinuousClock.Instant?
    /// Since when llama-server waits for a reply of the rpc-server; nil when it does not. A frozen worker shows here.
    package var unansweredSince: ContinuousClock.Instant?
    /// Why the last session that failed did.
    package var lastError: String?

    package init() {}

    package var weights: RPCTraffic.Weights { traffic.weights }
    package var expectedWeightByteCount: Int { traffic.expectedWeightByteCount }
    package var commands: [RPCCommand: RPCTraffic.CommandCount] { traffic.commands }
    package var answeredLocally: [RPCCommand: Int] { traffic.answeredLocally }
    package var graphComputeCount: Int { traffic.graphComputeCount }

    static func + (left: TunnelCounters, right: TunnelCounters) -> TunnelCounters {
        var sum = left
        sum.traffic = left.traffic + right.traffic
        sum.sentByteCount += right.sentByteCount
        sum.receivedByteCount += right.receivedByteCount
        sum.openSessionCount += right.openSessionCount
        sum.sessionCount += right.sessionCount
        sum.connectedSessionCount += right.connectedSessionCount
        sum.isPassThrough = left.isPassThrough || right.isPassThrough
        sum.lastRequest = latest(left.lastRequest, right.lastRequest)
        sum.lastReply = latest(left.lastReply, right.lastReply)
        sum.lastGraphCompute = latest(left.lastGraphCompute, right.lastGraphCompute)
        sum.unansweredSince = [left.unansweredSince, right.unansweredSince].compactMap(\.self).min()
        sum.lastError = right.lastError ?? left.lastError
        return sum
    }

    private static func latest(
        _ left: ContinuousClock.Instant?, _ right: ContinuousClock.Instant?
    ) -> ContinuousClock.Instant? { [left, right].compactMap(\.self).max() }
}
