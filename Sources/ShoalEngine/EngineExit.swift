package import ShoalCore

/// How an engine ended.
package struct EngineExit: Hashable, Sendable {
    package enum Cause: Hashable, Sendable {
        case exited(code: Int32)
        case signal(Int32)
        /// Killed by the kernel because memory ran out.
        case outOfMemory
        /// libllama, or a Swift runtime check, gave up; its own words.
        case aborted(message: String)
        /// A GPU or its driver failed; libllama's words.
        case device(message: String)
        /// This node ended it because it did nothing any more; how that showed.
        case hung(String)
        /// This node ended it because it only waited for memory; how that showed.
        case thrashing(String)
    }

    package var cause: Cause
    /// Whether this node asked for it.
    package var wasRequested: Bool

    package init(cause: Cause, wasRequested: Bool) {
        self.cause = cause
        self.wasRequested = wasRequested
    }

    /// For people: "the engine was killed by signal 9 (SIGKILL)".
    package var sentence: String { sentence(of: "the engine") }

    /// The same of another program.
    package func sentence(of subject: String) -> String {
        switch cause {
        case .exited(let code): "\(subject) exited with code \(code)"
        case .signal(let number): "\(subject) was killed by signal \(number)\(Self.name(of: number))"
        case .outOfMemory:
            "\(subject) was ended because memory ran out; "
                + "give this node fewer layers or a shorter context"
        case .aborted(let message): "\(subject) aborted: \(message)"
        case .device(let message): "the GPU or its driver failed \(subject): \(message)"
        case .hung(let how): "\(subject) hung: \(how)"
        case .thrashing(let how): "\(subject) had too little memory: \(how)"
        }
    }

    /// `engineLost`, with `sentence`.
    package var error: ShoalError { ShoalError(.engineLost, sentence) }

    private static func name(of signal: Int32) -> String {
        let names: [Int32: String] = [
            1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 8: "SIGFPE", 9: "SIGKILL",
            11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM",
        ]
        return names[signal].map { " (\($0))" } ?? ""
    }
}

/// What is known when a child has ended; `cause` decides what to call it.
struct ExitEvidence {
    private static let abort: Int32 = 6
    private static let kill: Int32 = 9

    /// -1 when a signal ended it.
    var exitCode: Int32
    /// -1 when it exited.
    var signal: Int32
    var wasRequested: Bool
    /// The kernel's count of processes killed for lack of memory grew while the child ran.
    var memoryRanOut: Bool
    var logTail: [String]
    /// Why this node ended it, if it did so on its own account.
    var verdict: EngineExit.Cause?

    var cause: EngineExit.Cause {
        guard signal >= 0 else { return .exited(code: exitCode) }
        if signal == Self.kill {
            if wasRequested { return .signal(signal) }
            return verdict ?? (memoryRanOut ? .outOfMemory : .signal(signal))
        }
        if let message = lastLine(of: Self.deviceMarks) { return .device(message: message) }
        if lastLine(of: Self.memoryMarks) != nil { return .outOfMemory }
        // A trap of the Swift runtime is a signal of its own per architecture, so its message decides, not the number.
        if let message = lastLine(of: Self.abortMarks) { return .aborted(message: message) }
        return signal == Self.abort ? .aborted(message: logTail.last ?? "no message") : .signal(signal)
    }

    /// Last words. Sources: `ggml_abort` in ggml.c, libstdc++'s terminate handler, the Swift runtime.
    private static let abortMarks = [
        "GGML_ASSERT(", "GGML_ABORT", "fatal error", "Fatal error", "terminate called", "what():",
    ]
    /// An allocation failed, on the host or on a device. Sources: ggml.c, ggml-backend.cpp, ggml-cuda.cu, libstdc++.
    private static let memoryMarks = [
        "std::bad_alloc", "insufficient memory", "cudaMalloc failed: out of memory", "ErrorOutOfDeviceMemory",
        "ErrorOutOfHostMemory", "failed to allocate buffer of size",
    ]
    /// Sources: ggml-cuda.cu, ggml-vulkan.cpp, ggml-metal.
    private static let deviceMarks = [
        "CUDA error:", "ROCm error:", "ErrorDeviceLost", "ggml_metal_graph_compute: command buffer",
    ]

    private func lastLine(of marks: [String]) -> String? {
        logTail.last { line in marks.contains { line.contains($0) } }
    }
}
