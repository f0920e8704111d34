package import ShoalCore

/// How well bytes travel once a connection exists.
package struct LinkQuality: Hashable, Sendable, Codable {
    /// Median of the pings.
    package var roundTripMilliseconds: Double
    /// Median distance of the pings from their median.
    package var jitterMilliseconds: Double
    package var pingCount: Int
    /// Nil until bulk was tried.
    package var bytesPerSecond: Double?
    package var longestStallMilliseconds: Double?
    package var bulkPassed: Bool?

    /// Nil without a ping.
    package init?(pings: [Duration]) {
        guard let median = Self.median(pings.map { $0 / .milliseconds(1) }) else { return nil }
        let distances = pings.map { abs($0 / .milliseconds(1) - median) }
        roundTripMilliseconds = median
        jitterMilliseconds = Self.median(distances) ?? 0
        pingCount = pings.count
    }

    /// Whether every number is one that a measurement can give: rows come from other nodes.
    var isPlausible: Bool {
        let numbers = [
            roundTripMilliseconds, jitterMilliseconds, bytesPerSecond ?? 0, longestStallMilliseconds ?? 0,
        ]
        return numbers.allSatisfy { $0.isFinite && (0..<1e15).contains($0) } && (0...1_000_000).contains(pingCount)
    }

    private static func median(_ values: [Double]) -> Double? {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
    }
}

/// What one node found out about one address of another. Only the node `from` writes it; the others pass it on.
package struct ReachRow: Hashable, Sendable, Codable {
    package var from: NodeID
    package var to: NodeID
    /// HOST:PORT that was dialled.
    package var address: String
    package var state: ReachState
    /// What the system said, in one sentence.
    package var detail: String?
    /// Of the last time that the address was open.
    package var quality: LinkQuality?
    /// By the clock of `from`, milliseconds. Compared with rows of the same `from` only, so clocks need not agree.
    package var measuredUnixMilliseconds: Int64

    package init(
        from: NodeID, to: NodeID, address: String, state: ReachState, detail: String? = nil,
        quality: LinkQuality? = nil, measuredUnixMilliseconds: Int64
    ) {
        self.from = from
        self.to = to
        self.address = address
        self.state = state
        self.detail = detail
        self.quality = quality
        self.measuredUnixMilliseconds = measuredUnixMilliseconds
    }

    static let addressByteCountMax = 262
    package static let detailByteCountMax = 512

    /// Whether a row that came from another node may be kept.
    var isPlausible: Bool {
        from != to && measuredUnixMilliseconds >= 0 && address.utf8.count <= Self.addressByteCountMax
            && (detail?.utf8.count ?? 0) <= Self.detailByteCountMax && (quality?.isPlausible ?? true)
    }
}
