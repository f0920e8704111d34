import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalTesting
import ShoalWire
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#else
    #error("these tests send signals")
#endif

@Suite("Engines that hang", .timeLimit(.minutes(1)))
struct HungEngineTests {
    private func impatient(_ configuration: inout ProcessEngineLauncher.Configuration) {
        configuration.watchdog.interval = .milliseconds(20)
        configuration.watchdog.silenceMax = .milliseconds(400)
    }

    @Test("an engine that is stopped while it has a request is ended, and everybody hears that it hung")
    func stopped() async throws {
        try await EngineFixture.with { fixture in
            let receiver = RecordingReceiver()
            let engine = try await fixture.launch(
                fixture.launcher(script: EngineFixture.waitForEnd, configure: impatient), receiver: receiver)
            let processID = try #require(engine.processID)
            #expect(kill(processID, SIGSTOP) == 0)
            let error = await #expect(throws: ShoalError.self) {
                _ = try await engine.request(.status, deadline: .seconds(50))
            }
            #expect(error?.code == .engineLost)
            #expect(error?.message.contains("the engine hung") == true, "\(error?.message ?? "")")
            #expect(error?.message.contains("stopped by a signal") == true, "\(error?.message ?? "")")
            let exit = await engine.waitForExit()
            #expect(!exit.wasRequested)
            #expect(await receiver.closeReason() == exit.error)
        }
    }

    @Test("an engine that swallows a micro-batch and does nothing is ended")
    func swallowed() async throws {
        try await EngineFixture.with { fixture in
            let engine = try await fixture.launch(
                fixture.launcher(script: EngineFixture.waitForEnd, configure: impatient))
            engine.connection.send(Frame(kind: .microBatch, number: 1))
            guard case .hung = await engine.waitForExit().cause else {
                Issue.record("the engine ended as \(await engine.waitForExit())")
                return
            }
            await engine.stop()
        }
    }

    @Test("an engine with nothing to do is left alone, and one that computes is, too")
    func healthy() async throws {
        try await EngineFixture.with { fixture in
            let idle = try await fixture.launch(
                fixture.launcher(script: EngineFixture.waitForEnd, configure: impatient))
            // Busy for longer than the limit, by its own clock, then it ends by itself.
            let busy = try await fixture.launch(
                fixture.launcher(
                    script: "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; exit 3", configure: impatient))
            busy.connection.send(Frame(kind: .microBatch, number: 1))
            #expect(await busy.waitForExit().cause == .exited(code: 3))
            #expect(kill(try #require(idle.processID), 0) == 0)
            await idle.stop()
            #expect(await idle.waitForExit().wasRequested)
            await busy.stop()
        }
    }
}
