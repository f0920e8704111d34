internal import NIOCore
internal import ShoalCore
internal import ShoalScheduling
internal import ShoalWire

/// What is encoded and scheduled.
enum Samples {
    /// Of a model 576 wide, in float32.
    static func microBatch(entryCount: Int) -> (description: MicroBatchDescription, payload: ByteBuffer) {
        let entries = (0..<entryCount).map {
            BatchEntry(
                sequence: SequenceID(rawValue: 0), position: Int32($0), token: TokenID(rawValue: 7),
                wantsOutput: $0 == entryCount - 1)
        }
        let tensor = TensorDescription(elementType: .float32, rowCount: UInt32(entryCount), width: 576)
        let description = MicroBatchDescription(
            batch: MicroBatch(number: 1, entries: entries), activations: tensor, stages: [StageTimes(compute: 5000)])
        return (description, ByteBuffer(repeating: 0, count: entryCount * 576 * 4))
    }

    static func outputs(tokenCount: Int) -> OutputsDescription {
        let tokens = (0..<tokenCount).map {
            SampledToken(
                sequence: SequenceID(rawValue: Int32($0)), token: TokenID(rawValue: 7), piece: Array(" word".utf8),
                isEndOfGeneration: false)
        }
        return OutputsDescription(
            tokens: tokens, logits: nil, stages: [StageTimes(compute: 5000), StageTimes(compute: 5000)])
    }

    /// A head's scheduler with requests that decode for ever, and a pipeline that answers at once.
    struct Pipeline {
        private var scheduler: HeadScheduler
        private var waiting: [MicroBatch] = []
        private var now = Duration.zero

        init(streamCount: Int) throws {
            var configuration = HeadSchedulerConfiguration(
                headName: "a", contextTokenCount: Limits.contextTokenCountMax, sequenceCountMax: streamCount)
            configuration.unacknowledgedTokenCountMax = .max
            scheduler = HeadScheduler(configuration: configuration)
            take(scheduler.pipelineReady(generation: 1, now: now))
            for stream in 0..<streamCount {
                let request = TokenizedRequest(
                    id: RequestID(rawValue: UInt64(stream)),
                    promptTokens: (0..<8).map { TokenID(rawValue: Int32(stream * 8 + $0)) })
                take(try scheduler.submit(request, now: now))
            }
        }

        /// Answers the oldest micro-batch; what the scheduler does with it.
        mutating func step() -> Int {
            guard !waiting.isEmpty else { return 0 }
            let batch = waiting.removeFirst()
            now += .milliseconds(10)
            let tokens = batch.entries.filter(\.wantsOutput).map {
                SampledToken(
                    sequence: $0.sequence, token: TokenID(rawValue: 7), piece: Array(" word".utf8),
                    isEndOfGeneration: false)
            }
            return take(
                scheduler.outputsArrived(batchNumber: batch.number, generation: 1, tokens: tokens, now: now))
        }

        @discardableResult private mutating func take(_ actions: [HeadSchedulerAction]) -> Int {
            for action in actions {
                if case .send(let batch) = action { waiting.append(batch) }
            }
            return actions.count
        }
    }
}
