/// Brings one child to its end, however that began: SIGTERM, after a grace SIGKILL, then it is reaped.
///
/// It needs no event loop, so that a node that shuts down its loops first still ends its engines.
final class EngineEnding: Sendable {
    private let child: ChildProcess
    private let stopGrace: Duration

    init(child: ChildProcess, stopGrace: Duration) {
        self.child = child
        self.stopGrace = stopGrace
    }

    var processID: Int32 { child.processID }

    /// Makes the end that follows this node's wish rather than the engine's accident.
    func askFor() { child.expectEnd() }

    /// Ends it on this node's own account, because it is of no use any more.
    func kill(because cause: EngineExit.Cause) { child.kill(because: cause) }

    /// Returns when the child is gone, without hurrying it.
    func wait() async -> EngineExit { await child.waitForExit() }

    /// Returns when the child is gone: an engine without its socket is of no use.
    func end() async -> EngineExit {
        if child.wasStopRequested { child.send(signal: ProcessEngine.terminateSignal) }
        // Cancelled below, as soon as the child has ended.
        let kill = Task { [child, stopGrace] in
            try await Task.sleep(for: stopGrace)
            child.send(signal: ProcessEngine.killSignal)
        }
        let exit = await child.waitForExit()
        kill.cancel()
        return exit
    }
}
