package import ShoalCore
package import ShoalLinks
package import ShoalWire

/// A receiver that remembers what it got.
package final class RecordingReceiver: FrameReceiver {
    package enum Event: Sendable {
        case frame(Frame)
        case writability(Bool)
        case closed(ShoalError?)
    }

    package let recorder = EventRecorder<Event>()
    private let onFrame: @Sendable (Frame, FrameConnection) -> Void

    /// `onFrame` is called on the connection's loop, after the frame was recorded.
    package init(onFrame: @escaping @Sendable (Frame, FrameConnection) -> Void = { _, _ in }) {
        self.onFrame = onFrame
    }

    package var frames: [Frame] {
        recorder.events.compactMap { event in
            guard case .frame(let frame) = event else { return nil }
            return frame
        }
    }

    /// The first frame that matches, past or future.
    package func frame(where matches: @escaping @Sendable (Frame) -> Bool = { _ in true }) async -> Frame {
        let event = await recorder.first { event in
            guard case .frame(let frame) = event else { return false }
            return matches(frame)
        }
        guard case .frame(let frame) = event else { preconditionFailure("the recorder returned what did not match") }
        return frame
    }

    /// Waits for the end of the connection and returns its reason.
    package func closeReason() async -> ShoalError? {
        let event = await recorder.first { event in
            guard case .closed = event else { return false }
            return true
        }
        guard case .closed(let reason) = event else { preconditionFailure("the recorder returned what did not match") }
        return reason
    }

    package func received(_ frame: Frame, on connection: FrameConnection) {
        recorder.record(.frame(frame))
        onFrame(frame, connection)
    }

    package func writabilityChanged(_ isWritable: Bool, on connection: FrameConnection) {
        recorder.record(.writability(isWritable))
    }

    package func closed(_ connection: FrameConnection, because error: ShoalError?) { recorder.record(.closed(error)) }
}
