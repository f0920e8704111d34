import NIOCore
import ShoalCore
import ShoalEngine
import ShoalWire
import Testing

@Suite("The life of a real engine process", .serialized)
struct EngineLifeTests {
    @Test("an engine whose daemon is gone ends by itself")
    func parentGone() async throws {
        let engine = try await EngineUnderTest.start()
        #expect(await engine.closeAndWait() == 0)
    }

    @Test("an engine whose daemon is gone ends in the middle of a decode")
    func parentGoneDuringDecode() async throws {
        let pipeline = try await TestPipeline.start(.reference) { request in
            request.contextTokenCount = 2048
            request.microBatchTokenCountMax = 2048
        }
        let tokens = Array(repeating: TokenID(rawValue: 9), count: 2048)
        let batch = MicroBatch(number: 1, entries: TestPipeline.entries(tokens, from: 0, wantsOutput: false))
        let frame = try MicroBatchDescription(batch: batch, activations: nil)
            .frame(instance: InstanceID(rawValue: 1), generation: 1)
        try await pipeline.head.send(frame)
        #expect(await pipeline.head.closeAndWait() == 0)
    }

    @Test("bytes that are no frame end the engine with code 2")
    func garbage() async throws {
        let engine = try await EngineUnderTest.start()
        try await engine.send(bytes: Array(repeating: 0x41, count: 64))
        #expect(await engine.waitForExit() == 2)
    }

    @Test("a frame that is not for an engine ends it with code 2", arguments: [FrameKind.hello, .outputs])
    func foreignFrame(_ kind: FrameKind) async throws {
        let engine = try await EngineUnderTest.start()
        try await engine.send(Frame(kind: kind))
        #expect(await engine.waitForExit() == 2)
    }

    @Test("a request that is no request ends the engine with code 2")
    func malformedRequest() async throws {
        let engine = try await EngineUnderTest.start()
        try await engine.send(Frame(kind: .engineRequest, description: ByteBuffer(string: "{\"fly\":{}}")))
        #expect(await engine.waitForExit() == 2)
    }

    @Test("a frame on the wrong one of its two sockets ends the engine with code 2")
    func wrongSocket() async throws {
        let tokenize = Frame(
            kind: .engineRequest,
            description: try FrameJSON.encode(
                EngineRequest.tokenize(text: "a", addSpecial: false, parseSpecial: false)))
        let first = try await EngineUnderTest.start()
        try await first.send(tokenize)
        #expect(await first.waitForExit() == 2)
        let second = try await EngineUnderTest.start()
        try await second.sendOnTextSocket(Frame(kind: .microBatch))
        #expect(await second.waitForExit() == 2)
    }

    @Test("requests and micro-batches are answered in the order they were sent")
    func orderIsKept() async throws {
        let pipeline = try await TestPipeline.start(.family("llama"))
        let engine = pipeline.head
        for number in UInt64(0)..<20 {
            let entries = TestPipeline.entries([TokenID(rawValue: 5)], from: Int32(number))
            let frame = try MicroBatchDescription(batch: MicroBatch(number: number, entries: entries), activations: nil)
                .frame(instance: InstanceID(rawValue: 1), generation: 1)
            try await engine.send(frame)
            try await engine.send(
                Frame(kind: .engineRequest, number: number, description: FrameJSON.encode(EngineRequest.status)))
        }
        for number in UInt64(0)..<20 {
            let outputs = try await engine.receive()
            #expect(outputs.kind == .outputs && outputs.number == number)
            let reply = try await engine.receive()
            #expect(reply.kind == .engineReply && reply.number == number)
            guard case .status(let status) = try FrameJSON.decode(EngineReply.self, from: reply.description) else {
                Issue.record("no status")
                return
            }
            #expect(status.microBatchCount == Int(number) + 1)
            #expect(status.tokenCount == Int(number) + 1)
            #expect(status.computeSeconds > 0)
            #expect(status.residentBytes > .zero)
        }
    }
}
