package import ShoalCore
package import ShoalWire

/// Who a connection's frames are for. Every method is called on the connection's event loop and must not block.
package protocol FrameReceiver: AnyObject, Sendable {
    func received(_ frame: Frame, on connection: FrameConnection)

    /// False once more than `LinkConfiguration.writeBufferHighWaterByteCount` bytes wait for the peer; true when the
    /// queue has drained.
    func writabilityChanged(_ isWritable: Bool, on connection: FrameConnection)

    /// Called exactly once, after the last frame. `error` is nil only when this side closed without a reason.
    func closed(_ connection: FrameConnection, because error: ShoalError?)
}

extension FrameReceiver {
    package func writabilityChanged(_ isWritable: Bool, on connection: FrameConnection) {}
}
