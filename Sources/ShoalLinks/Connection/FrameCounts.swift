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

    package private(set) var received: [FrameKind: Total] = [:]
    package private(set) var sent: [FrameKind: Total] = [:]

    package var receivedByteCount: Int { received.values.reduce(0) { $0 + $1.byteCount } }
    package var sentByteCount: Int { sent.values.reduce(0) { $0 + $1.byteCount } }

    mutating func addReceived(_ frame: Frame) { received[frame.kind, default: Total()].add(frame.byteCount) }
    mutating func addSent(_ frame: Frame) { sent[frame.kind, default: Total()].add(frame.byteCount) }
}
