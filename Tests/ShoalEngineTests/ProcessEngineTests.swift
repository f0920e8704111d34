import ShoalCore
import ShoalEngine
import ShoalTesting
import Testing

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif
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

@Suite("Engine processes", .timeLimit(.minutes(1)))
struct ProcessEngineTests {
    @Test("an engine starts, says what it is, and ends when its socket closes")
    func lifecycle() async throws {
        try await EngineFixture.with { fixture in
            let receiver = RecordingReceiver()
            let engine = try await fixture.launch(
                fixture.launcher(script: EngineFixture.waitForEnd), receiver: receiver)
            let processID = try #require(engine.processID)
            #expect(engine.build == EngineFixture.build)
            #expect(kill(processID, 0) == 0)
            await engine.stop()
            #expect(await engine.waitForExit().wasRequested)
            #expect(await receiver.closeReason() == nil)
            expectGone(processID)
            await engine.stop()
        }
    }

    @Test("a killed engine is reported by its signal, everywhere")
    func killed() async throws {
        try await EngineFixture.with { fixture in
            let receiver = RecordingReceiver()
            let engine = try await fixture.launch(
                fixture.launcher(script: EngineFixture.waitForEnd), receiver: receiver)
            let processID = try #require(engine.processID)
            let pending = Task { try await engine.request(.status, deadline: .seconds(30)) }
            #expect(kill(processID, SIGKILL) == 0)
            let exit = await engine.waitForExit()
            #expect(exit == EngineExit(cause: .signal(9), wasRequested: false))
            #expect(exit.sentence == "the engine was killed by signal 9 (SIGKILL)")
            let error = await #expect(throws: ShoalError.self) { try await pending.value }
            #expect(error == exit.error)
            #expect(await receiver.closeReason() == exit.error)
            expectGone(processID)
        }
    }

    @Test("an engine that exits by itself is reported by its code")
    func exits() async throws {
        try await EngineFixture.with { fixture in
            let engine = try await fixture.launch(fixture.launcher(script: "exit 3"))
            let exit = await engine.waitForExit()
            #expect(exit.cause == .exited(code: 3))
            #expect(!exit.wasRequested)
            expectGone(try #require(engine.processID))
            await engine.stop()
        }
    }

    @Test("an abort is reported with libllama's own words")
    func aborts() async throws {
        try await EngineFixture.with { fixture in
            let words = "/src/ggml.c:12: GGML_ASSERT(a == b) failed"
            let engine = try await fixture.launch(
                fixture.launcher(script: "echo '\(words)' >&2; echo 'backtrace' >&2; kill -ABRT $$"))
            let exit = await engine.waitForExit()
            #expect(exit.cause == .aborted(message: words))
            #expect(exit.sentence == "the engine aborted: \(words)")
            #expect(engine.logTail() == [words, "backtrace"])
            await engine.stop()
        }
    }

    @Test("ten megabytes of log that nobody asked for neither block the engine nor grow the files")
    func chatty() async throws {
        try await EngineFixture.with { fixture in
            let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            let launcher = try fixture.launcher(
                script: "yes \(line) | head -c 10485760 >&2; echo the end >&2; exit 0"
            ) { $0.logByteCountMax = 1 << 20 }
            let engine = try await fixture.launch(launcher)
            #expect(await engine.waitForExit().cause == .exited(code: 0))
            #expect(engine.logTail().count == 200)
            #expect(engine.logTail().last?.hasSuffix("the end") == true)
            for name in ["engine-test_1.log", "engine-test_1.log.1"] {
                let path = "\(fixture.folder)/logs/\(name)"
                let byteCount = try Data(contentsOf: URL(filePath: path)).count
                #expect((1...(1 << 20)).contains(byteCount), "\(name) has \(byteCount) bytes")
            }
            await engine.stop()
        }
    }

    @Test("an engine that ignores its socket and SIGTERM is killed after the grace")
    func stubborn() async throws {
        try await EngineFixture.with { fixture in
            let launcher = try fixture.launcher(preparation: "trap '' TERM", script: "while :; do sleep 0.05; done") {
                $0.stopGrace = .milliseconds(100)
            }
            let engine = try await fixture.launch(launcher)
            await engine.stop()
            #expect(await engine.waitForExit() == EngineExit(cause: .signal(9), wasRequested: true))
            expectGone(try #require(engine.processID))
        }
    }

    @Test("an engine that closes its socket but lives on is killed")
    func halfDead() async throws {
        try await EngineFixture.with { fixture in
            let receiver = RecordingReceiver()
            let launcher = try fixture.launcher(script: "exec 0<&- 1>&-; while :; do sleep 0.05; done") {
                $0.stopGrace = .milliseconds(50)
            }
            let engine = try await fixture.launch(launcher, receiver: receiver)
            #expect(await receiver.closeReason()?.code == .engineLost)
            #expect(await engine.waitForExit() == EngineExit(cause: .signal(9), wasRequested: false))
            await engine.stop()
        }
    }

    @Test("an engine that dies while it starts is an error with its last words, and leaves nothing behind")
    func diesAtStart() async throws {
        try await EngineFixture.with { fixture in
            let launcher = ProcessEngineLauncher(
                shell(fixture, "echo 'error while loading libllama.so' >&2; exit 127"))
            let error = await #expect(throws: ShoalError.self) { _ = try await fixture.launch(launcher) }
            #expect(error?.code == .engineLost)
            #expect(error?.message.contains("exited with code 127") == true, "\(error?.message ?? "")")
            #expect(error?.message.contains("error while loading libllama.so") == true)
        }
    }

    @Test("an engine that never speaks is given up at the start deadline")
    func silentStart() async throws {
        try await EngineFixture.with { fixture in
            var configuration = shell(fixture, EngineFixture.waitForEnd)
            configuration.startDeadline = .milliseconds(50)
            let error = await #expect(throws: ShoalError.self) {
                _ = try await fixture.launch(ProcessEngineLauncher(configuration))
            }
            #expect(error?.code == .timedOut)
        }
    }

    @Test("a program that is missing or not executable is a clear error", arguments: ["missing", "plain"])
    func noProgram(name: String) async throws {
        try await EngineFixture.with { fixture in
            let path = "\(fixture.folder)/\(name)"
            if name == "plain" { try Data("text".utf8).write(to: URL(filePath: path)) }
            let launcher = ProcessEngineLauncher(executablePath: path, logDirectory: nil)
            let error = await #expect(throws: ShoalError.self) { _ = try await fixture.launch(launcher) }
            #expect(error?.code == .engineLost)
            #expect(error?.message.contains(path) == true, "\(error?.message ?? "")")
        }
    }

    @Test("an engine of another protocol is refused")
    func otherProtocol() async throws {
        try await EngineFixture.with { fixture in
            var build = EngineFixture.build
            build.protocolNumber = 9
            let launcher = try fixture.launcher(script: EngineFixture.waitForEnd, build: build)
            let error = await #expect(throws: ShoalError.self) { _ = try await fixture.launch(launcher) }
            #expect(error?.message.contains("protocol 9") == true, "\(error?.message ?? "")")
        }
    }

    @Test("bytes that are no frame end the engine")
    func garbage() async throws {
        try await EngineFixture.with { fixture in
            let receiver = RecordingReceiver()
            let launcher = try fixture.launcher(
                script: "printf '%0100d' 0; \(EngineFixture.waitForEnd)")
            let engine = try await fixture.launch(launcher, receiver: receiver)
            _ = await engine.waitForExit()
            #expect(await receiver.closeReason()?.code == .engineLost)
        }
    }

    @Test("the engine gets the listed variables, three descriptors, and nothing else")
    func inheritance() async throws {
        try await EngineFixture.with { fixture in
            let launcher = try fixture.launcher(
                script: "ls /proc/self/fd | tr '\\n' ' ' >&2; echo >&2; env >&2; exit 0"
            ) {
                $0.environment = EngineEnvironment.allowed(from: [
                    "PATH": "/usr/bin:/bin", "AWS_SECRET_ACCESS_KEY": "x", "SHOAL_TOKEN": "x", "GGML_X": "1",
                ])
            }
            let engine = try await fixture.launch(launcher)
            _ = await engine.waitForExit()
            // The fourth is ls's own, for the folder it lists.
            #expect(engine.logTail().first == "0 1 2 3 ")
            let names = Set(engine.logTail().dropFirst().map { String($0.prefix { $0 != "=" }) })
            #expect(names.isSuperset(of: ["PATH", "GGML_X"]))
            #expect(names.isDisjoint(with: ["AWS_SECRET_ACCESS_KEY", "SHOAL_TOKEN", "HOME"]))
            await engine.stop()
        }
    }

    private func shell(_ fixture: EngineFixture, _ script: String) -> ProcessEngineLauncher.Configuration {
        var configuration = ProcessEngineLauncher.Configuration(
            executablePath: "/bin/sh", logDirectory: nil, environment: ["PATH": "/usr/bin:/bin"])
        configuration.arguments = ["-c", script]
        return configuration
    }

    /// Neither running nor a zombie: not our child any more.
    private func expectGone(_ processID: Int32) {
        var status: Int32 = 0
        #expect(waitpid(processID, &status, WNOHANG) == -1)
        #expect(errno == ECHILD)
    }
}
