internal import NIOCore
internal import ShoalCore
internal import ShoalEngine
internal import ShoalLlama
internal import ShoalWire

/// The engine thread's state: one stage, its samplers and its counters.
final class StageEngine {
    /// A loaded stage.
    private struct Stage {
        var context: StageContext
        var boundary: BoundaryFormat
        /// Present in the last stage of models that have one.
        var vocabulary: Vocabulary?
    }

    private let channel: ParentChannel
    private let text: TextService
    private var stage: Stage?
    private var samplers: [SequenceID: Sampler] = [:]
    /// What the next entry of a sequence has to be for its sampler to go on: the place and the token that it chose.
    private var expected: [SequenceID: (position: Int32, token: TokenID)] = [:]
    private var microBatchCount = 0
    private var tokenCount = 0
    private var computeDuration = Duration.zero
    private var decodeWork = StageWork()
    private var promptWork = StageWork()
    private let clock = ContinuousClock()

    init(channel: ParentChannel, text: TextService) {
        self.channel = channel
        self.text = text
    }

    /// Runs until the process ends.
    func run() -> Never {
        var frames = FrameSource(channel)
        while true {
            let frame = frames.next()
            do throws(ShoalError) {
                switch try EngineJob(frame) {
                case .microBatch(let description): process(frame, description)
                case .request(let request): channel.send(reply(to: request), to: frame)
                }
            } catch {
                Exit.protocolViolation("\(error)")
            }
        }
    }

    private func reply(to request: EngineRequest) -> EngineReply {
        do throws(ShoalError) {
            return try answer(request)
        } catch {
            return .failed(error)
        }
    }

    private func answer(_ request: EngineRequest) throws(ShoalError) -> EngineReply {
        switch request {
        case .load(let request):
            return .loaded(try load(request))
        case .configureSampler(let sequence, let parameters, let history):
            try configureSampler(sequence, parameters, history)
        case .releaseSampler(let sequence):
            samplers[sequence] = nil
            expected[sequence] = nil
        case .reset:
            samplers.removeAll()
            expected.removeAll()
            try loaded().context.clear()
        case .status:
            return .status(try status())
        case .measureSpeed(let threadCount):
            return .speed(try measureSpeed(threadCount: threadCount))
        case .tokenize, .pieces, .renderChat, .grammar:
            throw ShoalError(.internal, "text requests have a thread of their own")
        }
        return .done
    }

    private func loaded() throws(ShoalError) -> Stage {
        guard let stage else { throw ShoalError(.unavailable, "this engine has not loaded a stage") }
        return stage
    }
}

// MARK: - Requests

extension StageEngine {
    private func load(_ request: StageLoadRequest) throws(ShoalError) -> StageLoaded {
        guard stage == nil else {
            throw ShoalError(
                .invalidRequest, "this engine has a stage already; start another process for another stage")
        }
        let start = clock.now
        var reported = -1
        let source = try StageSource(
            path: request.path, layers: request.layers, usesOrdinaryLoader: request.loader == .ordinary,
            gpuLayerCount: request.gpuLayerCount)
        let model = try source.load { [channel] progress in
            let percent = Int(progress * 100)
            guard percent > reported else { return }
            reported = percent
            channel.send(.loadProgress(Double(percent) / 100))
        }
        let context = try StageContext(model: model, configuration: StageContext.Configuration(request))
        let vocabulary = model.isLast || request.servesText ? try source.vocabulary() : nil
        if let vocabulary, request.servesText { text.serve(vocabulary) }
        stage = Stage(context: context, boundary: request.boundaryFormat, vocabulary: vocabulary)
        var loaded = StageLoaded(
            family: model.family, layers: model.layers, isLast: model.isLast, embeddingWidth: model.embeddingWidth,
            vocabularyTokenCount: source.vocabularyTokenCount, loadSeconds: seconds(clock.now - start),
            weightBytes: model.weightBytes, bytesReadFromDisk: model.bytesRead + source.headerBytes,
            residentBytes: ResidentMemory.byteCount, kvCacheBytes: context.cacheBytes,
            canRemovePartialSequences: !model.isRecurrent)
        loaded.weightBufferBytes = context.weightBufferBytes
        loaded.computeBufferBytes = context.computeBytes
        return loaded
    }

    private func measureSpeed(threadCount: Int) throws(ShoalError) -> NodeSpeed {
        guard stage == nil else {
            throw ShoalError(.invalidRequest, "this engine computes a stage; speed is measured by one that is idle")
        }
        LowPriority.begin()
        return try SpeedMeasurement.run(threadCount: threadCount)
    }

    private func configureSampler(
        _ sequence: SequenceID, _ parameters: SamplingParameters, _ history: SamplerHistory
    ) throws(ShoalError) {
        let stage = try loaded()
        guard stage.context.model.isLast else {
            throw ShoalError(
                .invalidRequest, "layers \(stage.context.model.layers) are not the last stage, which samples")
        }
        guard (0..<stage.context.configuration.sequenceCountMax).contains(Int(sequence.rawValue)) else {
            throw ShoalError(
                .invalidRequest,
                "sequence \(sequence); this stage has sequences 0 to "
                    + "\(stage.context.configuration.sequenceCountMax - 1)"
            )
        }
        expected[sequence] = nil
        samplers[sequence] = try Sampler(
            parameters, history: history, vocabulary: stage.vocabulary,
            vocabularyTokenCount: stage.context.model.vocabularyTokenCount)
    }

    private func status() throws(ShoalError) -> StageStatus {
        var status = StageStatus(
            sequencesInUse: try loaded().context.sequencesInUse, samplersInUse: samplers.keys.sorted(),
            residentBytes: ResidentMemory.byteCount, microBatchCount: microBatchCount, tokenCount: tokenCount,
            computeSeconds: seconds(computeDuration))
        status.decodeWork = decodeWork
        status.promptWork = promptWork
        return status
    }

    private func seconds(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }
}

// MARK: - Micro-batches

extension StageEngine {
    private func process(_ frame: Frame, _ description: MicroBatchDescription) {
        do throws(ShoalError) {
            let stage = try loaded()
            try requireRoom(for: frame, description, in: stage)
            let start = clock.now
            try stage.context.decode(description.batch, activations: Activations.read(description, frame.payload))
            let elapsed = clock.now - start
            count(description.batch, elapsed)
            var times = StageTimes(
                embed: StageTimes.microseconds(stage.context.embedDuration),
                compute: StageTimes.microseconds(elapsed - stage.context.embedDuration))
            if stage.context.model.isLast {
                channel.send(try outputs(frame, description, of: stage, &times))
            } else {
                channel.send(try boundary(frame, description, of: stage, times))
            }
        } catch {
            channel.sendFailure(error, of: frame)
        }
    }

    /// Asked before computing, because afterwards the KV cache would have moved on without an answer.
    private func requireRoom(
        for frame: Frame, _ description: MicroBatchDescription, in stage: Stage
    ) throws(ShoalError) {
        guard stage.context.model.isLast, frame.flags.contains(.wantsLogits) else { return }
        let rowCount = description.batch.entries.count { $0.wantsOutput }
        let byteCount = rowCount * stage.context.model.vocabularyTokenCount * MemoryLayout<Float>.stride
        guard byteCount <= Limits.framePayloadByteCountMax else {
            throw ShoalError(
                .invalidRequest,
                "logits of \(rowCount) entries are \(byteCount) bytes; "
                    + "a frame carries \(Limits.framePayloadByteCountMax)"
            )
        }
    }

    private func count(_ batch: MicroBatch, _ elapsed: Duration) {
        microBatchCount += 1
        tokenCount += batch.entries.count
        computeDuration += elapsed
        if batch.entries.count == 1 {
            decodeWork.add(batch, seconds(elapsed))
        } else if batch.entries.count >= StageWork.promptTokenCountMin {
            promptWork.add(batch, seconds(elapsed))
        }
    }

    /// The same micro-batch with this stage's activations: what the next stage takes as it is.
    private func boundary(
        _ frame: Frame, _ description: MicroBatchDescription, of stage: Stage, _ times: StageTimes
    ) throws(ShoalError) -> Frame {
        let (activations, payload) = Activations.write(
            stage.context.rows, width: stage.context.rowWidth, as: stage.boundary)
        return try MicroBatchDescription(
            batch: description.batch, activations: activations, stages: description.stages + [times]
        ).frame(flags: frame.flags, instance: frame.instance, generation: frame.generation, payload: payload)
    }

    private func outputs(
        _ frame: Frame, _ description: MicroBatchDescription, of stage: Stage, _ times: inout StageTimes
    ) throws(ShoalError) -> Frame {
        let context = stage.context
        var tokens: [SampledToken] = []
        // Rows of the entries that were not wrong guesses.
        var rows: [Float] = []
        let wantsLogits = frame.flags.contains(.wantsLogits)
        for (index, entry) in description.batch.entries.filter(\.wantsOutput).enumerated() where isExpected(entry) {
            let row = context.rows[index * context.rowWidth..<(index + 1) * context.rowWidth]
            let token = sample(entry.sequence, row, stage.vocabulary, &times)
            if samplers[entry.sequence] != nil { expected[entry.sequence] = (entry.position + 1, token.token) }
            tokens.append(token)
            if wantsLogits { rows += row }
        }
        var logits: TensorDescription?
        var payload = ByteBuffer()
        if wantsLogits && !tokens.isEmpty {
            (logits, payload) = Activations.write(rows, width: context.rowWidth, as: .f32)
        }
        return try OutputsDescription(tokens: tokens, logits: logits, stages: description.stages + [times])
            .frame(number: frame.number, instance: frame.instance, generation: frame.generation, payload: payload)
    }

    /// Whether an entry's token is the one that was sampled before it. A guess that is not says nothing about what
    /// follows, nor does anything behind it, until the right token comes to its place.
    private func isExpected(_ entry: BatchEntry) -> Bool {
        guard let next = expected[entry.sequence] else { return true }
        return next == (entry.position, entry.token)
    }

    /// Greedy for sequences without a sampler. One sequence's impossible grammar ends that sequence's answer, not the
    /// micro-batch of all the others.
    private func sample(
        _ sequence: SequenceID, _ logits: ArraySlice<Float>, _ vocabulary: Vocabulary?, _ times: inout StageTimes
    ) -> SampledToken {
        do throws(ShoalError) {
            let start = clock.now
            let token = try samplers[sequence]?.sample(logits) ?? Sampler.mostLikely(logits)
            let sampled = clock.now
            times.sample &+= StageTimes.microseconds(sampled - start)
            defer { times.detokenize &+= StageTimes.microseconds(clock.now - sampled) }
            let isEnd = vocabulary?.isEndOfGeneration(token) ?? false
            return SampledToken(
                sequence: sequence, token: token, piece: isEnd ? [] : vocabulary?.piece(of: token) ?? [],
                isEndOfGeneration: isEnd)
        } catch {
            Exit.log("sequence \(sequence) ends: \(error)")
            let end = vocabulary?.endOfText ?? TokenID(rawValue: 0)
            return SampledToken(sequence: sequence, token: end, piece: [], isEndOfGeneration: true)
        }
    }
}

extension StageWork {
    /// Micro-batches of fewer tokens, but more than one, are neither kind.
    fileprivate static let promptTokenCountMin = 32

    fileprivate mutating func add(_ batch: MicroBatch, _ elapsedSeconds: Double) {
        microBatchCount += 1
        tokenCount += batch.entries.count
        outputCount += batch.entries.count { $0.wantsOutput }
        positionSum += batch.entries.reduce(0) { $0 + Int($1.position) }
        seconds += elapsedSeconds
    }
}

extension StageContext.Configuration {
    fileprivate init(_ request: StageLoadRequest) {
        self.init(
            contextTokenCount: request.contextTokenCount, sequenceCountMax: request.sequenceCountMax,
            microBatchTokenCountMax: request.microBatchTokenCountMax, threadCount: request.threadCount)
    }
}
