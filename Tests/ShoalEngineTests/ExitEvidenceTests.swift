import Testing

@testable import ShoalEngine

@Suite("Why an engine ended")
struct ExitEvidenceTests {
    private func cause(
        exitCode: Int32 = -1, signal: Int32 = -1, wasRequested: Bool = false, memoryRanOut: Bool = false,
        logTail: [String] = []
    ) -> EngineExit.Cause {
        ExitEvidence(
            exitCode: exitCode, signal: signal, wasRequested: wasRequested, memoryRanOut: memoryRanOut, logTail: logTail
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
            "/x/ggml.c:1: GGML_ASSERT(n > 0) failed", "terminate called after throwing an instance of 'std::bad_alloc'",
            "ShoalLlama/Stage.swift:3: Fatal error: index out of range", "llama.cpp:7: fatal error",
        ])
    func lastWords(line: String) {
        #expect(cause(signal: 6, logTail: ["loading", line, "#1 0x12 in main"]) == .aborted(message: line))
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
