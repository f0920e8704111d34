import Foundation

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    #error("a C library is needed")
#endif

extension Process {
    /// How long `reap` looks, in milliseconds, before it says that the process cannot be ended.
    private static let reapAttemptsMax = 20_000

    /// Waits until a process that was told to end is gone, and returns whether it is. Blocks the thread meanwhile.
    ///
    /// `waitUntilExit` runs the thread's run loop, and on threads of the cooperative pool it may do so for ever, with a
    /// whole processor (Foundation of Swift 6.3.1 on Linux).
    @discardableResult
    package func reap() -> Bool {
        for _ in 0..<Self.reapAttemptsMax {
            if !isRunning { return true }
            usleep(1000)
        }
        return false
    }

    /// Kills the process, if it runs, and waits until it is gone. SIGTERM would not do: a child inherits the signals
    /// that the starting thread blocks, and threads of the pool block most.
    package func killAndReap() {
        guard isRunning else { return }
        kill(processIdentifier, SIGKILL)
        precondition(reap(), "process \(processIdentifier) survived SIGKILL")
    }
}
