import Dispatch
package import Foundation

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    #error("a C library is needed")
#endif

/// The end of a process, to be waited for from a thread that may wait.
///
/// In place of `Process.waitUntilExit`, which runs the thread's run loop and did so for ever, with a whole processor,
/// on threads of the cooperative pool (Foundation of Swift 6.3.1 on Linux).
// Safety: `Process` is used from one test at a time.
package final class ProcessEnd: @unchecked Sendable {
    /// No process of a test takes longer to end once it was told to.
    private static let secondsMax = 120

    private let process: Process
    private let running = DispatchGroup()

    /// To be made before the process runs; takes its `terminationHandler`.
    package init(of process: Process) {
        self.process = process
        running.enter()
        process.terminationHandler = { [running] _ in running.leave() }
    }

    /// Whether the process ended, or does so soon enough. Blocks the thread meanwhile.
    package func wait() -> Bool { running.wait(timeout: .now() + .seconds(Self.secondsMax)) == .success }

    /// Kills the process, if it runs, and waits until it is gone. SIGTERM would not do: a child inherits the signals
    /// that the starting thread blocks, and threads of the pool block most.
    package func force() {
        guard process.isRunning else { return }
        kill(process.processIdentifier, SIGKILL)
        precondition(wait(), "process \(process.processIdentifier) survived SIGKILL")
    }
}
