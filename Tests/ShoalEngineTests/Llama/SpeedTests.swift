import ShoalCore
import ShoalEngine
import Testing

@Suite("An engine measures its machine")
struct SpeedTests {
    @Test("without a model, for the usual weight types, within plausible bounds")
    func measure() async throws {
        let engine = try await EngineUnderTest.start()
        guard case .speed(let speed) = try await engine.ask(.measureSpeed(threadCount: 1)) else {
            Issue.record("the reply is no speed")
            return
        }
        print("SPEED", speed)
        #expect(speed.isPlausible)
        #expect(speed.threadCount == 1)
        #expect(!speed.device.isEmpty)
        #expect(await engine.build?.llamaBuild == speed.engineBuild)
        let first = try #require(speed.matrices["q4_K"])
        #expect(first.secondsPerByte > 0 && first.secondsPerByte < 1e-6)
        #expect(first.secondsPerElementAndToken > 0)
        #expect(speed.attentionSecondsPerElement > 0)
        #expect(speed.secondsPerOperation > 0)
    }

    @Test("numbers of threads out of range are refused", arguments: [0, -1, 100_000])
    func refusal(threadCount: Int) async throws {
        let engine = try await EngineUnderTest.start()
        guard case .failed(let error) = try await engine.ask(.measureSpeed(threadCount: threadCount)) else {
            Issue.record("accepted")
            return
        }
        #expect(error.code == .invalidRequest)
    }
}
