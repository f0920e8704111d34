internal import CShoalSystem
internal import NIOPosix
internal import ShoalCore
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#elseif canImport(Darwin)
    internal import Darwin
#else
    #error("engine processes need a POSIX C library")
#endif

/// One child process: its standard error always drained, its end always reaped.
///
/// Two threads of its own do the blocking: one waits for the end, one reads the log. Nothing here depends on anybody
/// holding the object, so a child whose owner forgets it is reaped all the same.
final class ChildProcess: Sendable {
    struct Program {
        var path: String
        var arguments: [String]
        var environment: [String: String]
        /// Stock programs have no socket to us: both their outputs are the log, and they end with this process.
        var isStock = false
    }

    private struct State {
        var wasStopRequested = false
        var verdict: EngineExit.Cause?
        var exit: EngineExit?
        var waiters: [CheckedContinuation<EngineExit, Never>] = []
    }

    private static let readByteCount = 64 << 10

    let processID: Int32
    private let log: EngineLog
    private let threads: NIOThreadPool
    private let outOfMemoryKillCountAtStart: Int64
    private let state = Mutex(State())

    private init(processID: Int32, log: EngineLog, threads: NIOThreadPool, killCount: Int64) {
        self.processID = processID
        self.log = log
        self.threads = threads
        outOfMemoryKillCountAtStart = killCount
    }

    /// Starts `program` with one socket as its standard input and another as its standard output; returns our ends,
    /// which the caller closes.
    ///
    /// Throws `engineLost` naming the program and the reason. Does not block the caller's thread.
    static func start(_ program: Program, log: EngineLog) async throws(ShoalError) -> (ChildProcess, EngineSockets) {
        let threads = NIOThreadPool(numberOfThreads: 2)
        threads.start()
        let result: Result<(ChildProcess, EngineSockets), ShoalError>
        do {
            result = try await threads.runIfActive { spawn(program, log: log, threads: threads) }
        } catch {
            result = .failure(ShoalError(.internal, "no thread for an engine: \(error)"))
        }
        if case .failure = result { shutDown(threads) }
        return try result.get()
    }

    /// Notes that the end that follows is this node's wish. Before anything that may cause it, such as closing the
    /// socket.
    func expectEnd() { state.withLock { $0.wasStopRequested = true } }

    /// Whether `expectEnd` came.
    var wasStopRequested: Bool { state.withLock { $0.wasStopRequested } }

    /// Sends a signal; nothing happens when the child has ended.
    func send(signal: Int32) {
        state.withLock { state in
            // Under the lock that also covers reaping: the id cannot be another process's by now.
            guard state.exit == nil else { return }
            _ = shoal_signal(processID, signal)
        }
    }

    /// Kills the child, which will be said to have ended for this reason.
    func kill(because cause: EngineExit.Cause) {
        state.withLock { $0.verdict = $0.verdict ?? cause }
        send(signal: SIGKILL)
    }

    /// Returns when the child has ended and is reaped.
    func waitForExit() async -> EngineExit {
        await withCheckedContinuation { continuation in
            let exit = state.withLock { state -> EngineExit? in
                if state.exit == nil { state.waiters.append(continuation) }
                return state.exit
            }
            if let exit { continuation.resume(returning: exit) }
        }
    }

    // MARK: Starting, on a thread of the pool

    private static func spawn(
        _ program: Program, log: EngineLog, threads: NIOThreadPool
    ) -> Result<(ChildProcess, EngineSockets), ShoalError> {
        var pairs = Descriptors()
        guard pairs.open() else {
            return .failure(ShoalError(.engineLost, "no descriptors left for an engine's sockets and pipes"))
        }
        let killCount = shoal_out_of_memory_kill_count()
        let arguments = CStringList([program.path] + program.arguments)
        let environment = CStringList(program.environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" })
        let processID =
            program.isStock
            ? shoal_spawn_tied(program.path, arguments.pointer, environment.pointer, pairs.standardError[1])
            : shoal_spawn(
                program.path, arguments.pointer, environment.pointer, pairs.work[1], pairs.text[1],
                pairs.standardError[1])
        closeDescriptor(pairs.work[1])
        closeDescriptor(pairs.text[1])
        closeDescriptor(pairs.standardError[1])
        guard processID > 0 else {
            pairs.closeOurs()
            return .failure(startFailure(program.path, errnoCode: -processID))
        }
        let child = ChildProcess(processID: processID, log: log, threads: threads, killCount: killCount)
        child.watch(pairs)
        return .success((child, EngineSockets(work: pairs.work[0], text: pairs.text[0])))
    }

    private static func startFailure(_ path: String, errnoCode: Int32) -> ShoalError {
        switch errnoCode {
        case ENOENT: ShoalError(.engineLost, "there is no engine program at \(path); build it, or name another one")
        case EACCES: ShoalError(.engineLost, "the engine program \(path) is not executable")
        default: ShoalError(.engineLost, "the engine program \(path): \(String(cString: strerror(errnoCode)))")
        }
    }

    private static func shutDown(_ threads: NIOThreadPool) {
        // Fails only when it is shut down already.
        threads.shutdownGracefully { _ in }
    }

    // MARK: Watching, on two threads of the pool

    private func watch(_ pairs: Descriptors) {
        let processID = processID
        threads.submit { _ in
            shoal_set_thread_name("engine-wait")
            _ = shoal_wait_ended(processID)
            // Its end of stream tells the other thread.
            closeDescriptor(pairs.ended[1])
        }
        threads.submit { [self] _ in
            shoal_set_thread_name("engine-log")
            drain(pairs.standardError[0], ended: pairs.ended[0])
            log.finish()
            closeDescriptor(pairs.standardError[0])
            closeDescriptor(pairs.ended[0])
            reap()
            Self.shutDown(threads)
        }
    }

    /// Reads until the child has ended and what it wrote is read. Somebody else may still hold the pipe, so the end of
    /// the stream is not waited for.
    private func drain(_ descriptor: CInt, ended: CInt) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.readByteCount, alignment: 16)
        defer { buffer.deallocate() }
        var source = descriptor
        // Ends with the child; until then it sleeps in poll(2).
        while true {
            let ready = shoal_wait_readable(source, ended)
            guard ready >= 0 else { return }
            if ready & 1 != 0 {
                let count = read(source, buffer.baseAddress, buffer.count)
                if count > 0 {
                    log.append(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                    continue
                }
                if count < 0, errno == EINTR { continue }
                // poll(2) ignores negative descriptors.
                source = -1
            }
            if ready & 2 != 0 { return }
        }
    }

    private func reap() {
        let memoryRanOut = shoal_out_of_memory_kill_count() > max(outOfMemoryKillCountAtStart, 0)
        let logTail = log.lines
        let (exit, waiters) = state.withLock { state in
            var exitCode: Int32 = -1
            var signal: Int32 = -1
            _ = shoal_reap(processID, &exitCode, &signal)
            let evidence = ExitEvidence(
                exitCode: exitCode, signal: signal, wasRequested: state.wasStopRequested,
                memoryRanOut: memoryRanOut, logTail: logTail, verdict: state.verdict)
            let exit = EngineExit(cause: evidence.cause, wasRequested: state.wasStopRequested)
            state.exit = exit
            defer { state.waiters = [] }
            return (exit, state.waiters)
        }
        for waiter in waiters { waiter.resume(returning: exit) }
    }
}

/// A node's ends of its sockets to one engine; see `EngineSession`.
struct EngineSockets {
    /// The child's standard input.
    var work: CInt
    /// The child's standard output.
    var text: CInt
}

/// The descriptors between a node and one child; index 0 is ours.
private struct Descriptors {
    var work: [CInt] = [-1, -1]
    var text: [CInt] = [-1, -1]
    var standardError: [CInt] = [-1, -1]
    /// Closed by the waiting thread when the child has ended; both ends are ours.
    var ended: [CInt] = [-1, -1]

    /// False, and nothing left open, when the process has too many descriptors.
    mutating func open() -> Bool {
        if shoal_socket_pair(&work) == 0, shoal_socket_pair(&text) == 0, shoal_pipe(&standardError) == 0,
            shoal_pipe(&ended) == 0
        {
            return true
        }
        for descriptor in work + text + standardError + ended where descriptor >= 0 { closeDescriptor(descriptor) }
        return false
    }

    func closeOurs() {
        for descriptor in [work[0], text[0], standardError[0], ended[0], ended[1]] { closeDescriptor(descriptor) }
    }
}

/// A NULL-terminated list of C strings.
private final class CStringList {
    let pointer: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int

    init(_ strings: [String]) {
        count = strings.count
        pointer = .allocate(capacity: count + 1)
        for (index, string) in strings.enumerated() { (pointer + index).initialize(to: strdup(string)) }
        (pointer + count).initialize(to: nil)
    }

    deinit {
        for index in 0..<count { free(pointer[index]) }
        pointer.deinitialize(count: count + 1)
        pointer.deallocate()
    }
}
