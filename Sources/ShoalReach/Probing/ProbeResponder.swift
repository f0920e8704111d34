package import ShoalCore
package import ShoalLinks
package import ShoalWire

/// The answering side of a measurement: every `ping` frame, with or without payload, is answered with a `pong` of the
/// same number. It answers until the prober closes, or has sent more than a measurement needs.
package final class ProbeResponder: FrameReceiver {
    /// Bytes that one connection may send: several bulk measurements.
    package static let byteCountMax = 64 << 20

    package init() {}

    package func received(_ frame: Frame, on connection: FrameConnection) {
        guard frame.kind == .ping else {
            return connection.close(
                because: ShoalError(.protocolViolation, "a \(frame.kind) frame on a connection for measurements"))
        }
        guard connection.counts.receivedByteCount <= Self.byteCountMax else {
            return connection.close(
                because: ShoalError(.overloaded, "a measurement of more than \(Self.byteCountMax) bytes"))
        }
        connection.send(Frame(kind: .pong, number: frame.number))
    }

    package func closed(_ connection: FrameConnection, because error: ShoalError?) {}
}
