/// What one session, or several together, have carried.
package struct RPCTraffic: Sendable, Hashable, Codable {
    /// Requests of one command.
    package struct CommandCount: Sendable, Hashable, Codable {
        package var count = 0
        /// In the stream, bodies included.
        package var byteCount = 0

        package init() {}
    }

    /// How the bytes of weights reached the rpc-server.
    package struct Weights: Sendable, Hashable, Codable {
        /// What llama-server wrote.
        package var allByteCount = 0
        /// Found in a GGUF file of the worker.
        package var fromFileByteCount = 0
        /// Found in the worker's cache.
        package var fromCacheByteCount = 0
        /// Sent over the middle connection because the worker did not have them. Pieces that are too small for a
        /// reference are in `allByteCount` only.
        package var sentByteCount = 0

        package init() {}
    }

    package var commands: [RPCCommand: CommandCount] = [:]
    package var answeredLocally: [RPCCommand: Int] = [:]
    package var weights = Weights()
    /// What the rpc-server had allocated when the first weight came: about what will be written. 0 until then.
    package var expectedWeightByteCount = 0

    package init() {}

    /// GRAPH_COMPUTE and GRAPH_RECOMPUTE.
    package var graphComputeCount: Int {
        (commands[.graphCompute]?.count ?? 0) + (commands[.graphRecompute]?.count ?? 0)
    }

    mutating func count(_ request: RPCRequest) {
        commands[request.command, default: CommandCount()].count += 1
        commands[request.command, default: CommandCount()].byteCount += Int(clamping: request.byteCount)
    }

    package static func + (left: RPCTraffic, right: RPCTraffic) -> RPCTraffic {
        var sum = left
        for (command, count) in right.commands {
            sum.commands[command, default: CommandCount()].count += count.count
            sum.commands[command, default: CommandCount()].byteCount += count.byteCount
        }
        sum.answeredLocally.merge(right.answeredLocally, uniquingKeysWith: +)
        sum.weights.allByteCount += right.weights.allByteCount
        sum.weights.fromFileByteCount += right.weights.fromFileByteCount
        sum.weights.fromCacheByteCount += right.weights.fromCacheByteCount
        sum.weights.sentByteCount += right.weights.sentByteCount
        sum.expectedWeightByteCount = max(left.expectedWeightByteCount, right.expectedWeightByteCount)
        return sum
    }
}

extension RPCCommand: Codable {}
