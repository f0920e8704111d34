package import NIOCore
package import ShoalCore
package import ShoalLinks

/// Starts engines. The node knows only this; tests give it engines that need neither processes nor libllama.
package protocol EngineLauncher: Sendable {
    /// Starts one engine and waits until it says that it is there.
    ///
    /// `label` names its log. `receiver` gets, on `eventLoop`, every frame that is neither reply nor event, and
    /// `closed` when the engine is gone, with the cause of its death; that may also happen when this throws.
    /// `onLoadProgress` gets 0 to 1, on the loop. Throws
    /// `engineLost`: no such program, died at once, another protocol; or `timedOut`.
    func launch(
        label: String, eventLoop: any EventLoop, receiver: any FrameReceiver,
        onLoadProgress: @escaping @Sendable (Double) -> Void
    ) async throws(ShoalError) -> any EngineHandle
}

/// One engine that was started.
package protocol EngineHandle: AnyObject, Sendable {
    /// For micro-batches. Their answers go to the receiver of `launch`.
    var connection: FrameConnection { get }

    /// Nil for engines that are no process.
    var processID: Int32? { get }

    var build: EngineBuild { get }

    /// How it was started; nil for engines that are no process.
    var launchRecord: LaunchRecord? { get }

    /// Asks the engine and waits for its reply; `EngineReply.failed` is thrown as its error.
    ///
    /// `deadline` is for the reply, except for `load`, where it counts from the last progress. Throws `timedOut`,
    /// `engineLost` with the cause of death, `cancelled` when the calling task is cancelled.
    func request(_ request: EngineRequest, deadline: Duration) async throws(ShoalError) -> EngineReply

    /// Sends a request at once, in order with the micro-batches that are sent on the loop; nobody waits for the reply.
    ///
    /// `onFailure` is called on the loop when the engine refuses; not when it dies, which the receiver of `launch`
    /// learns. Call it on the loop.
    func post(_ request: EngineRequest, onFailure: @escaping @Sendable (ShoalError) -> Void)

    /// Returns when the engine is gone; at once when it is already. Any number of callers.
    func waitForExit() async -> EngineExit

    /// Ends the engine and returns when it is gone and reaped and the receiver has heard `closed`. Any number of calls;
    /// after a death by itself it only waits for the latter.
    func stop() async

    /// The last lines that the engine logged, oldest first.
    func logTail() -> [String]
}
