import Testing

@testable import ShoalEngine

@Suite("Why an engine ended")
struct ExitEvidenceTests {
    private func cause(
        exitCode: Int32 = -1, signal: Int32 = -1, wasRequested: Bool = false, memoryRanOut: Bool = false,
        logTail: [String] = [], verdict: EngineExit.Cause? = nil
    ) -> EngineExit.Cause {
        ExitEvidence(
            exitCode: exitCode, signal: signal, wasRequested: wasRequested, memoryRanOut: memoryRanOut,
            logTail: logTail,
            verdict: verdict
        ).cause
    }

    @Test("SIGKILL while the kernel killed for memory is out of memory")
    func outOfMemory() {
        #expect(cause(signal: 9, memoryRanOut: true) == .outOfMemory)
        #expect(cause(signal: 9, memoryRanOut: false) == .signal(9))
    }

    @Test("SIGKILL that this node sent is never called out of memory")
    func requestedKill() {
        #expect(cause(signal: 9, wasRequested: true, memoryRanOut: true) == .signal(9))
    }

    @Test(
        "the last words are found among what follows them",
        arguments: [
            "/x/ggml.c:1: GGML_ASSERT(n > 0) failed",
            "terminate called after throwing an instance of 'std::logic_error'",
            "ShoalLlama/Stage.swift:3: Fatal error: index out of range", "llama.cpp:7: fatal error",
        ])
    func lastWords(line: String) {
        #expect(cause(signal: 6, logTail: ["loading", line, "#1 0x12 in main"]) == .aborted(message: line))
    }

    @Test(
        "an allocation that failed is out of memory, not a crash",
        arguments: [
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "ggml_aligned_malloc: insufficient memory (attempted to allocate 71.00 MB)",
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9.00 MiB on device 0: "
                + "cudaMalloc failed: out of memory",
        ])
    func failedAllocation(line: String) {
        #expect(cause(signal: 6, logTail: [line, "GGML_ASSERT(buffer) failed"]) == .outOfMemory)
        #expect(cause(exitCode: 1, logTail: [line]) == .exited(code: 1), "it went on and ended by itself")
    }

    @Test("a GPU that failed is told from a crash")
    func device() {
        let words = "CUDA error: an illegal memory access was encountered"
        #expect(cause(signal: 6, logTail: [words, "GGML_ABORT"]) == .device(message: words))
        #expect(EngineExit(cause: .device(message: words), wasRequested: false).sentence.contains("GPU or its driver"))
    }

    @Test("what this node ended on its own account is called by its reason, unless it was asked to end")
    func verdict() {
        #expect(cause(signal: 9, memoryRanOut: true, verdict: .hung("x")) == .hung("x"))
        #expect(cause(signal: 9, wasRequested: true, verdict: .hung("x")) == .signal(9))
        #expect(cause(signal: 11, verdict: .hung("x")) == .signal(11), "it was faster")
    }

    @Test("an abort without known words is reported with the last line")
    func plainAbort() {
        #expect(cause(signal: 6, logTail: ["a", "b"]) == .aborted(message: "b"))
        #expect(cause(signal: 6) == .aborted(message: "no message"))
    }

    @Test("other signals and codes are reported as they are")
    func plain() {
        #expect(cause(signal: 11) == .signal(11))
        #expect(cause(exitCode: 2, logTail: ["GGML_ASSERT(x)"]) == .exited(code: 2))
        #expect(EngineExit(cause: .signal(11), wasRequested: false).sentence.contains("11 (SIGSEGV)"))
        #expect(EngineExit(cause: .signal(63), wasRequested: false).sentence == "the engine was killed by signal 63")
        #expect(EngineExit(cause: .outOfMemory, wasRequested: false).sentence.contains("memory ran out"))
    }
}
