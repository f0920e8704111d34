import ShoalCore

/// How long frames are under way between nodes.
package struct LinkTimes: Sendable {
    /// What is taken for links that nobody has measured: an ordinary local network.
    package static let assumedRoundTripSeconds = 1e-3
    package static let assumedBytesPerSecond = 50e6
    /// Encrypting, sending and receiving one frame, on top of the way.
    package static let secondsPerFrame = 60e-6

    /// Both by `from * nodeCount + to`; zero where nothing is known.
    private var roundTrips: [Double]
    private var throughputs: [Double]
    private let nodeCount: Int

    /// Indices are those of `nodes`. A link that was measured in one direction only stands for the other one too.
    init(_ links: [PlannerLink], nodes: [PlannerNode]) {
        self.init(nodeCount: nodes.count)
        let index = Dictionary(
            nodes.enumerated().map { ($0.element.id, $0.offset) }, uniquingKeysWith: { first, _ in first })
        var latest: (id: NodeID, index: Int?)?
        for link in links {
            // Links come sorted by their start, mostly.
            let from = latest.flatMap { $0.id == link.from ? $0.index : nil } ?? index[link.from]
            latest = (link.from, from)
            guard let from, let to = index[link.to], from != to else { continue }
            roundTrips[from * nodeCount + to] = LinkTimes.usable(link.roundTripSeconds, max: 60)
            throughputs[from * nodeCount + to] = LinkTimes.usable(link.bytesPerSecond, max: 1e12)
        }
    }

    private init(nodeCount: Int) {
        self.nodeCount = nodeCount
        roundTrips = Array(repeating: 0, count: nodeCount * nodeCount)
        throughputs = roundTrips
    }

    /// The same for the given nodes, numbered in their order.
    func selecting(_ nodes: [Int]) -> LinkTimes {
        var selected = LinkTimes(nodeCount: nodes.count)
        for (from, old) in nodes.enumerated() {
            for (to, oldTo) in nodes.enumerated() {
                selected.roundTrips[from * nodes.count + to] = roundTrips[old * nodeCount + oldTo]
                selected.throughputs[from * nodes.count + to] = throughputs[old * nodeCount + oldTo]
            }
        }
        return selected
    }

    /// Until a frame of `byteCount` has arrived.
    func seconds(from: Int, to: Int, byteCount: Int) -> Double {
        (roundTrip(from, to) ?? LinkTimes.assumedRoundTripSeconds) / 2 + LinkTimes.secondsPerFrame
            + transferSeconds(from: from, to: to, byteCount: byteCount)
    }

    /// How long a frame occupies the link.
    func transferSeconds(from: Int, to: Int, byteCount: Int) -> Double {
        Double(byteCount) / (throughput(from, to) ?? LinkTimes.assumedBytesPerSecond)
    }

    func isMeasured(from: Int, to: Int) -> Bool { roundTrip(from, to) != nil }

    func roundTrip(_ from: Int, _ to: Int) -> Double? { known(roundTrips, from, to) }

    private func throughput(_ from: Int, _ to: Int) -> Double? { known(throughputs, from, to) }

    private func known(_ values: [Double], _ from: Int, _ to: Int) -> Double? {
        let there = values[from * nodeCount + to]
        if there > 0 { return there }
        let back = values[to * nodeCount + from]
        return back > 0 ? back : nil
    }

    private static func usable(_ value: Double?, max: Double) -> Double {
        value.flatMap { $0.isFinite && $0 > 0 ? min($0, max) : nil } ?? 0
    }
}
