import ShoalEngine
import Testing

@Suite("Stock programs as children")
struct StockProcessTests {
    private func run(_ script: String) async throws -> (exit: EngineExit, log: [String]) {
        let program = StockProcess.Program(
            path: "/bin/sh", arguments: ["-c", script], environment: ["PATH": "/usr/bin:/bin"], label: "stock",
            logDirectory: nil)
        let process = try await StockProcess.start(program)
        return (await process.waitForExit(), process.logTail())
    }

    @Test("a worker whose client is gone gets an error from its write, not a signal that ends it")
    func brokenPipeIsAnError() async throws {
        let (exit, log) = try await run("kill -PIPE $$; echo alive; exit 7")
        #expect(exit.cause == .exited(code: 7))
        #expect(log == ["alive"])
    }

    @Test("other signals have their ordinary meaning, and the end says which it was")
    func otherSignals() async throws {
        #expect(try await run("kill -HUP $$; exit 7").exit.cause == .signal(1))
        #expect(try await run("kill -KILL $$").exit.cause == .signal(9))
    }
}
