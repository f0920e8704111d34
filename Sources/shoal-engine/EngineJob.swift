internal import ShoalCore
internal import ShoalEngine
internal import ShoalWire

/// What the daemon wants done, by the socket it comes on.
enum EngineJob {
    case microBatch(MicroBatchDescription)
    case request(EngineRequest)

    /// For the engine thread. Throws `protocolViolation` for frames that are not for it.
    init(_ frame: Frame) throws(ShoalError) {
        switch frame.kind {
        case .microBatch: self = .microBatch(try MicroBatchDescription(decoding: frame))
        case .engineRequest: self = .request(try Self.request(in: frame, isAboutText: false))
        default: throw ShoalError(.protocolViolation, "a \(frame.kind) frame is not for an engine")
        }
    }

    /// What the text thread is asked. Throws `protocolViolation` for frames that are not for it.
    static func textRequest(_ frame: Frame) throws(ShoalError) -> EngineRequest {
        guard frame.kind == .engineRequest else {
            throw ShoalError(.protocolViolation, "a \(frame.kind) frame is not for an engine's text thread")
        }
        return try request(in: frame, isAboutText: true)
    }

    private static func request(in frame: Frame, isAboutText: Bool) throws(ShoalError) -> EngineRequest {
        let request: EngineRequest = try FrameJSON.decode(from: frame.description)
        guard request.isAboutText == isAboutText else {
            throw ShoalError(.protocolViolation, "a request came on the wrong one of the engine's two sockets")
        }
        return request
    }
}
