import ShoalCore
import ShoalScheduling
import Testing

@Suite("Where the time of a request went")
struct RequestTracerTests {
    private static let request = RequestID(rawValue: 7)
    private static let sequence = SequenceID(rawValue: 2)

    private static func batch(_ number: UInt64, _ count: Int, wantsOutput: Bool) -> MicroBatch {
        MicroBatch(
            number: number,
            entries: (0..<count).map {
                BatchEntry(
                    sequence: sequence, position: Int32($0), token: TokenID(rawValue: 1),
                    wantsOutput: wantsOutput && $0 == count - 1)
            })
    }

    private static func times(compute: UInt32, engine: UInt32) -> StageTimes {
        StageTimes(queue: 1, compute: compute, engine: engine)
    }

    private static let token = SampledToken(
        sequence: sequence, token: TokenID(rawValue: 3), piece: [], isEndOfGeneration: false)

    private func owner(_ sequence: SequenceID) -> RequestID? { sequence == Self.sequence ? Self.request : nil }

    @Test("guesses that were wrong are no tokens of the answer")
    func guesses() throws {
        var tracer = RequestTracer()
        tracer.sending(Self.batch(0, 8, wantsOutput: true), now: .zero, owner: owner)
        tracer.arrived(batchNumber: 0, tokens: [Self.token], stages: [], now: .milliseconds(1))
        tracer.sending(Self.batch(1, 4, wantsOutput: true), now: .milliseconds(1), owner: owner)
        tracer.arrived(batchNumber: 1, tokens: [Self.token, Self.token], stages: [], now: .milliseconds(2))
        let trace = try #require(tracer.latest.first)
        #expect(trace.prompt.tokenCount == 8)
        #expect(trace.decode.tokenCount == 2)
    }

    @Test("the prompt ends with its first token, and what follows is split into head, stages and links")
    func parts() throws {
        var tracer = RequestTracer()
        let stages = [Self.times(compute: 100, engine: 120), Self.times(compute: 200, engine: 230)]
        tracer.sending(Self.batch(0, 8, wantsOutput: false), now: .microseconds(1000), owner: owner)
        tracer.sending(Self.batch(1, 4, wantsOutput: true), now: .microseconds(1010), owner: owner)
        tracer.arrived(batchNumber: 0, tokens: [], stages: stages, now: .microseconds(1400))
        tracer.arrived(batchNumber: 1, tokens: [Self.token], stages: stages, now: .microseconds(1600))
        tracer.sending(Self.batch(2, 1, wantsOutput: true), now: .microseconds(1605), owner: owner)
        tracer.arrived(batchNumber: 2, tokens: [Self.token], stages: stages, now: .microseconds(2000))

        let trace = try #require(tracer.latest.first)
        #expect(trace.request == Self.request)
        #expect(trace.prompt.tokenCount == 12)
        #expect(trace.prompt.microBatchCount == 2)
        #expect(trace.prompt.elapsed == 600)
        #expect(trace.prompt.compute == 600)
        #expect(trace.decode.tokenCount == 1)
        #expect(trace.decode.elapsed == 400)
        #expect(trace.decode.head == 5)
        #expect(trace.decode.wire == 395 - 350)
        #expect(trace.decode.stages.map(\.compute) == [100, 200])
        #expect(trace.decode.stages.map(\.handOver) == [19, 29])
        let parts = trace.decode.head + trace.decode.wire + trace.decode.stages.reduce(0) { $0 + $1.total }
        #expect(parts == trace.decode.elapsed)
    }

    @Test("micro-batches of nobody, and outputs that nobody waits for, leave no trace")
    func strangers() {
        var tracer = RequestTracer()
        tracer.sending(Self.batch(0, 1, wantsOutput: true), now: .zero) { _ in nil }
        tracer.arrived(batchNumber: 0, tokens: [], stages: [], now: .seconds(1))
        tracer.arrived(batchNumber: 9, tokens: [], stages: [], now: .seconds(1))
        #expect(tracer.latest.isEmpty)

        tracer.sending(Self.batch(1, 1, wantsOutput: true), now: .zero, owner: owner)
        tracer.pipelineLost()
        tracer.arrived(batchNumber: 1, tokens: [], stages: [], now: .seconds(1))
        #expect(tracer.latest.map(\.prompt.microBatchCount) == [0])
    }

    @Test("only the latest requests are remembered, latest first")
    func ring() {
        var tracer = RequestTracer()
        let count = UInt64(RequestTracer.traceCountMax + 3)
        for number in 0..<count {
            tracer.sending(Self.batch(number, 1, wantsOutput: true), now: .zero) { _ in RequestID(rawValue: number) }
            tracer.arrived(batchNumber: number, tokens: [], stages: [], now: .zero)
        }
        #expect(tracer.latest.count == RequestTracer.traceCountMax)
        #expect(tracer.latest.first?.request == RequestID(rawValue: count - 1))
        #expect(tracer.latest.last?.request == RequestID(rawValue: 3))
    }

    @Test("durations that do not fit are the nearest that do")
    func durations() {
        #expect(StageTimes.microseconds(.microseconds(-5)) == 0)
        #expect(StageTimes.microseconds(.nanoseconds(1999)) == 1)
        #expect(StageTimes.microseconds(.milliseconds(2500)) == 2_500_000)
        #expect(StageTimes.microseconds(.seconds(1_000_000)) == .max)
    }
}
