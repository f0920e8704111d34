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
        var boundary: StageLoadRequest.BoundaryElementType
        /// Present in the last stage of models that have one.
        var vocabulary: Vocabulary?
    }

    private let channel: ParentChannel
    private let text: TextService
    private var stage: Stage?
    private var samplers: [SequenceID: Sampler] = [:]
    private var microBatchCount = 0
    private var tokenCount = 0
    private var computeDuration = Duration.zero
    private var costs = ComputeCosts()
    private let clock = ContinuousClock()

    init(channel: ParentChannel, text: TextService) {
        self.channel = channel
        self.text = text
    }

    /// Runs until the process ends.
    func run(_ jobs: BlockingQueue<EngineJob>) -> Never {
        while true {
            switch jobs.take() {
            case .microBatch(let frame, let description): process(frame, description)
            case .request(let frame, let request): channel.send(reply(to: request), to: frame)
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
        case .reset:
            samplers.removeAll()
            try loaded().context.clear()
        case .status:
            return .status(try status())
        case .tokenize, .detokenize, .renderChat, .grammar:
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
        stage = Stage(context: context, boundary: request.boundaryElementType, vocabulary: vocabulary)
        return StageLoaded(
            family: model.family, layers: model.layers, isLast: model.isLast, embeddingWidth: model.embeddingWidth,
            vocabularyTokenCount: source.vocabularyTokenCount, loadSeconds: seconds(clock.now - start),
            weightBytes: model.weightBytes, bytesReadFromDisk: model.bytesRead + source.headerBytes,
            residentBytes: ResidentMemory.byteCount, kvCacheBytes: context.cacheBytes,
            canRemovePartialSequences: !model.isRecurrent)
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
        samplers[sequence] = try Sampler(
            parameters, history: history, vocabulary: stage.vocabulary,
            vocabularyTokenCount: stage.context.model.vocabularyTokenCount)
    }

    private func status() throws(ShoalError) -> StageStatus {
        StageStatus(
            sequencesInUse: try loaded().context.sequencesInUse, samplersInUse: samplers.keys.sorted(),
            residentBytes: ResidentMemory.byteCount, microBatchCount: microBatchCount, tokenCount: tokenCount,
            computeSeconds: seconds(computeDuration), costs: costs)
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
            let answer =
                stage.context.model.isLast
                ? try outputs(frame, description, of: stage, since: start) : try boundary(frame, description, of: stage)
            channel.send(answer)
            costs.add(tokenCount: description.batch.entries.count, seconds: seconds(clock.now - start))
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
    }

    /// The same micro-batch with this stage's activations: what the next stage takes as it is.
    private func boundary(
        _ frame: Frame, _ description: MicroBatchDescription, of stage: Stage
    ) throws(ShoalError) -> Frame {
        let (activations, payload) = Activations.write(
            stage.context.rows, width: stage.context.rowWidth, as: stage.boundary)
        return try MicroBatchDescription(batch: description.batch, activations: activations)
            .frame(flags: frame.flags, instance: frame.instance, generation: frame.generation, payload: payload)
    }

    private func outputs(
        _ frame: Frame, _ description: MicroBatchDescription, of stage: Stage, since start: ContinuousClock.Instant
    ) throws(ShoalError) -> Frame {
        let context = stage.context
        var tokens: [SampledToken] = []
        for entry in description.batch.entries where entry.wantsOutput {
            let row = tokens.count * context.rowWidth
            tokens.append(sample(entry.sequence, context.rows[row..<row + context.rowWidth], stage.vocabulary))
        }
        var logits: TensorDescription?
        var payload = ByteBuffer()
        if frame.flags.contains(.wantsLogits) && !tokens.isEmpty {
            (logits, payload) = Activations.write(context.rows, width: context.rowWidth, as: .float32)
        }
        let nanoseconds = UInt64(max(0, seconds(clock.now - start)) * 1e9)
        return try OutputsDescription(tokens: tokens, logits: logits, computeNanoseconds: nanoseconds)
            .frame(number: frame.number, instance: frame.instance, generation: frame.generation, payload: payload)
    }

    /// Greedy for sequences without a sampler. One sequence's impossible grammar ends that sequence's answer, not the
    /// micro-batch of all the others.
    private func sample(
        _ sequence: SequenceID, _ logits: ArraySlice<Float>, _ vocabulary: Vocabulary?
    ) -> SampledToken {
        do throws(ShoalError) {
            let token = try samplers[sequence]?.sample(logits) ?? Sampler.mostLikely(logits)
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

extension StageContext.Configuration {
    fileprivate init(_ request: StageLoadRequest) {
        self.init(
            contextTokenCount: request.contextTokenCount, sequenceCountMax: request.sequenceCountMax,
            microBatchTokenCountMax: request.microBatchTokenCountMax, threadCount: request.threadCount)
    }
}
