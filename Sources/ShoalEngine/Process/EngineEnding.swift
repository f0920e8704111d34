internal import NIOCore
internal import Synchronization

/// Brings one child to its end, however that began: SIGTERM, after a grace SIGKILL, then it is reaped.
final class EngineEnding: Sendable {
    private let child: ChildProcess
    private let eventLoop: any EventLoop
    private let stopGrace: Duration
    private let askedFor = Mutex(false)

    init(child: ChildProcess, eventLoop: any EventLoop, stopGrace: Duration) {
        self.child = child
        self.eventLoop = eventLoop
        self.stopGrace = stopGrace
    }

    var processID: Int32 { child.processID }

    /// Whether the end is this node's wish rather than the engine's accident.
    var wasAskedFor: Bool { askedFor.withLock { $0 } }

    func askFor() { askedFor.withLock { $0 = true } }

    /// Returns when the child is gone, without hurrying it.
    func wait() async -> EngineExit { await child.waitForExit() }

    /// Returns when the child is gone: an engine without its socket is of no use.
    func end() async -> EngineExit {
        if wasAskedFor { child.stop(signal: ProcessEngine.terminateSignal) }
        let kill = eventLoop.scheduleTask(in: TimeAmount(stopGrace)) { [child] in
            child.stop(signal: ProcessEngine.killSignal)
        }
        let exit = await child.waitForExit()
        kill.cancel()
        return exit
    }
}
