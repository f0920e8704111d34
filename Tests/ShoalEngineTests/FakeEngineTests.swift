import NIOCore
import NIOPosix
import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalTesting
import ShoalWire
import Testing

@Suite("Fake engines", .timeLimit(.minutes(1)))
struct FakeEngineTests {
    private static let instance = InstanceID(rawValue: 3)
    private static let sequence = SequenceID(rawValue: 0)

    @Test("the same text comes out of one, two and three stages", arguments: [[12], [5, 12], [1, 7, 12]])
    func split(ends: [Int]) async throws {
        try await EngineFixture.with { fixture in
            let launcher = FakeEngineLauncher()
            let prompt = launcher.model.tokenize("Hello", addSpecial: true)
            let stages = try await load(ends, launcher, fixture)
            var tokens = prompt
            var position = 0
            for number in 0..<8 {
                let new = tokens[position...]
                let entries = new.enumerated().map { offset, token in
                    BatchEntry(
                        sequence: Self.sequence, position: Int32(position + offset), token: token,
                        wantsOutput: position + offset == tokens.count - 1)
                }
                position = tokens.count
                let outputs = try await run(MicroBatch(number: UInt64(number), entries: entries), through: stages)
                tokens.append(try #require(outputs.tokens.first).token)
            }
            #expect(Array(tokens.dropFirst(prompt.count)) == launcher.model.continuation(of: prompt, count: 8))
            for stage in stages { await stage.handle.stop() }
        }
    }

    @Test("text requests, status and samplers are answered")
    func requests() async throws {
        try await EngineFixture.with { fixture in
            let launcher = FakeEngineLauncher()
            let stage = try await load([12], launcher, fixture)[0]
            let engine = stage.handle
            guard
                case .tokens(let tokens) = try await engine.request(
                    .tokenize(text: "ab", addSpecial: true, parseSpecial: false), deadline: .seconds(30))
            else { throw ShoalError(.internal, "tokenize was not answered with tokens") }
            #expect(tokens.map(\.rawValue) == [256, 97, 98])
            _ = try await engine.request(
                .configureSampler(Self.sequence, .greedy, SamplerHistory()), deadline: .seconds(30))
            guard case .status(let status) = try await engine.request(.status, deadline: .seconds(30))
            else { throw ShoalError(.internal, "status was not answered with a status") }
            #expect(status.samplersInUse == [Self.sequence])
            #expect(status.sequencesInUse.isEmpty)
            await engine.stop()
        }
    }

    @Test("load progress is reported, and a failed load throws its error")
    func loading() async throws {
        try await EngineFixture.with { fixture in
            let launcher = FakeEngineLauncher()
            let progress = EventRecorder<Double>()
            let failure = ShoalError(.malformedModel, "not a GGUF")
            launcher.failNextLoad(failure)
            let engine = try await fixture.launch(launcher, onLoadProgress: { progress.record($0) })
            let request = EngineRequest.load(
                StageLoadRequest(path: "x", layers: try #require(LayerRange(first: 0, end: 12))))
            let error = await #expect(throws: ShoalError.self) {
                try await engine.request(request, deadline: .seconds(30))
            }
            #expect(error == failure)
            _ = try await engine.request(request, deadline: .seconds(30))
            #expect(progress.events == [0.5, 1])
            await engine.stop()
        }
    }

    @Test("a scripted death reaches requests, receiver and exit with its cause")
    func death() async throws {
        try await EngineFixture.with { fixture in
            let launcher = FakeEngineLauncher()
            let stage = try await load([12], launcher, fixture)[0]
            let fake = await launcher.engines.first()
            fake.die()
            #expect(await stage.receiver.closeReason()?.message == "the engine was killed by signal 9 (SIGKILL)")
            #expect(await stage.handle.waitForExit().cause == .signal(9))
            let error = await #expect(throws: ShoalError.self) {
                try await stage.handle.request(.status, deadline: .seconds(30))
            }
            #expect(error?.code == .engineLost)
        }
    }

    @Test("batches can be held, released and failed")
    func scripted() async throws {
        try await EngineFixture.with { fixture in
            let launcher = FakeEngineLauncher()
            let stage = try await load([12], launcher, fixture)[0]
            let fake = await launcher.engines.first()
            let batch = MicroBatch(
                number: 1,
                entries: [
                    BatchEntry(
                        sequence: Self.sequence, position: 0, token: TokenID(rawValue: 97), wantsOutput: true)
                ])
            try await fake.holdBatches()
            stage.handle.connection.send(try frame(batch))
            _ = await fake.receivedBatches.first()
            #expect(stage.receiver.frames.isEmpty)
            try await fake.releaseBatches()
            #expect(await stage.receiver.frame().kind == .outputs)
            let failure = ShoalError(.internal, "scripted")
            try await fake.failNextBatch(failure)
            stage.handle.connection.send(try frame(batch))
            let answer = await stage.receiver.frame { $0.kind == .microBatchFailed }
            #expect(try FrameJSON.decode(ShoalError.self, from: answer.description) == failure)
            await stage.handle.stop()
        }
    }

    private struct Stage {
        let handle: any EngineHandle
        let receiver: RecordingReceiver
    }

    private func load(
        _ ends: [Int], _ launcher: FakeEngineLauncher, _ fixture: EngineFixture
    ) async throws -> [Stage] {
        var stages: [Stage] = []
        var first = 0
        for end in ends {
            let receiver = RecordingReceiver()
            let handle = try await fixture.launch(launcher, receiver: receiver)
            let layers = try #require(LayerRange(first: first, end: end))
            _ = try await handle.request(.load(StageLoadRequest(path: "x", layers: layers)), deadline: .seconds(30))
            stages.append(Stage(handle: handle, receiver: receiver))
            first = end
        }
        return stages
    }

    private func frame(_ batch: MicroBatch) throws -> Frame {
        try MicroBatchDescription(batch: batch, activations: nil).frame(instance: Self.instance, generation: 1)
    }

    private func run(_ batch: MicroBatch, through stages: [Stage]) async throws -> OutputsDescription {
        var next = try frame(batch)
        for stage in stages {
            stage.handle.connection.send(next)
            let number = next.number
            next = await stage.receiver.frame { $0.number == number && $0.kind != .engineReply }
        }
        return try OutputsDescription(decoding: next)
    }
}
