package import ShoalWire

/// What crossed one connection, per kind of frame.
package struct FrameCounts: Hashable, Sendable {
    /// Frames and their bytes, headers included.
    package struct Total: Hashable, Sendable {
        package var frameCount = 0
        package var byteCount = 0

        fileprivate mutating func add(_ byteCount: Int) {
            frameCount += 1
            self.byteCount += byteCount
        }
    }

    /// Of the kinds that crossed at all.
    package var received: [FrameKind: Total] { Self.byKind(receivedTotals) }
    package var sent: [FrameKind: Total] { Self.byKind(sentTotals) }

    package var receivedByteCount: Int { receivedTotals.reduce(0) { $0 + $1.byteCount } }
    package var sentByteCount: Int { sentTotals.reduce(0) { $0 + $1.byteCount } }

    /// By raw value of the kind: every frame is counted, few counts are looked at.
    private var receivedTotals = noTotals
    private var sentTotals = noTotals

    private static let noTotals = [Total](
        repeating: Total(), count: Int(FrameKind.allCases.map(\.rawValue).max() ?? 0) + 1)

    mutating func addReceived(_ frame: Frame) { receivedTotals[Int(frame.kind.rawValue)].add(frame.byteCount) }
    mutating func addSent(_ frame: Frame) { sentTotals[Int(frame.kind.rawValue)].add(frame.byteCount) }

    private static func byKind(_ totals: [Total]) -> [FrameKind: Total] {
        var counts: [FrameKind: Total] = [:]
        for kind in FrameKind.allCases where totals[Int(kind.rawValue)].frameCount > 0 {
            counts[kind] = totals[Int(kind.rawValue)]
        }
        return counts
    }
}
