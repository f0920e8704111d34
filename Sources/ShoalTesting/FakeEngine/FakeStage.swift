package import NIOCore
package import ShoalCore
package import ShoalEngine
package import ShoalWire

/// What a fake engine computes: a value, without threads or sockets.
///
/// A row of activations is the token, its position modulo 1024 and the number of layers that it has passed; each stage
/// checks that they fit, so crossed wires fail loudly.
package struct FakeStage: Sendable {
    package enum Answer: Sendable {
        /// Not last: what the next stage gets.
        case forward(MicroBatchDescription, ByteBuffer)
        case outputs(OutputsDescription, ByteBuffer)
    }

    private let model: FakeModel
    private let request: StageLoadRequest
    private var histories: [SequenceID: [Int32: TokenID]] = [:]
    private var samplers: [SequenceID: SamplingParameters] = [:]
    private var expected: [SequenceID: (position: Int32, token: TokenID)] = [:]
    private var microBatchCount = 0
    private var tokenCount = 0

    /// Throws `invalidPlacement` when the model has not so many layers.
    package init(model: FakeModel, request: StageLoadRequest) throws(ShoalError) {
        guard request.layers.end <= model.layerCount else {
            throw ShoalError(
                .invalidPlacement, "layers \(request.layers) were asked for, the model has \(model.layerCount)")
        }
        self.model = model
        self.request = request
    }

    private var isFirst: Bool { request.layers.first == 0 }
    private var isLast: Bool { request.layers.end == model.layerCount }

    package var loaded: StageLoaded {
        let share = ByteCount(model.weightByteCount / model.layerCount * request.layers.count)
        return StageLoaded(
            family: model.family, layers: request.layers, isLast: isLast, embeddingWidth: model.embeddingWidth,
            vocabularyTokenCount: FakeModel.vocabularyTokenCount, loadSeconds: 0, weightBytes: share,
            bytesReadFromDisk: share, residentBytes: share, kvCacheBytes: .zero, canRemovePartialSequences: true)
    }

    package var status: StageStatus {
        StageStatus(
            sequencesInUse: histories.filter { !$0.value.isEmpty }.keys.sorted(),
            samplersInUse: samplers.keys.sorted(), residentBytes: .zero, microBatchCount: microBatchCount,
            tokenCount: tokenCount, computeSeconds: 0)
    }

    package mutating func configureSampler(_ sequence: SequenceID, _ parameters: SamplingParameters) {
        samplers[sequence] = parameters
        expected[sequence] = nil
    }

    package mutating func releaseSampler(_ sequence: SequenceID) { samplers[sequence] = nil }

    package mutating func reset() {
        histories = [:]
        samplers = [:]
    }

    /// Applies the KV operations, then the entries.
    package mutating func compute(
        _ description: MicroBatchDescription, payload: ByteBuffer, wantsLogits: Bool
    ) throws(ShoalError) -> Answer {
        for operation in description.batch.kvOperations { apply(operation) }
        let tokens = try tokens(of: description, payload: payload)
        for (entry, token) in zip(description.batch.entries, tokens) { try append(entry, token) }
        microBatchCount += 1
        tokenCount += tokens.count
        return isLast
            ? outputs(for: description.batch, wantsLogits: wantsLogits)
            : forward(description.batch, tokens)
    }

    private mutating func apply(_ operation: KVOperation) {
        switch operation {
        case .remove(let sequence, let from, let to):
            histories[sequence] = histories[sequence]?.filter { !(from..<to).contains($0.key) }
        case .copy(let source, let destination, let from, let to):
            let copied = (histories[source] ?? [:]).filter { (from..<to).contains($0.key) }
            histories[destination, default: [:]].merge(copied) { _, new in new }
        case .keep(let sequence):
            histories = histories.filter { $0.key == sequence }
        case .clear:
            histories = [:]
        }
    }

    /// A position that is not the next one would silently leave a hole, so it is an error.
    private mutating func append(_ entry: BatchEntry, _ token: TokenID) throws(ShoalError) {
        let next = (histories[entry.sequence]?.keys.max() ?? -1) + 1
        guard entry.position == next else {
            throw ShoalError(
                .invalidRequest,
                "sequence \(entry.sequence) holds \(next) tokens, so its next position is not \(entry.position)"
            )
        }
        guard Int(entry.position) < request.contextTokenCount else {
            throw ShoalError(
                .contextOverflow, "position \(entry.position) of a context of \(request.contextTokenCount)")
        }
        histories[entry.sequence, default: [:]][entry.position] = token
    }

    private func tokens(
        of description: MicroBatchDescription, payload: ByteBuffer
    ) throws(ShoalError) -> [TokenID] {
        guard !isFirst, !description.batch.entries.isEmpty else { return description.batch.entries.map(\.token) }
        guard let tensor = description.activations, tensor.elementType == .float32,
            Int(tensor.width) == model.embeddingWidth
        else { throw ShoalError(.protocolViolation, "stage \(request.layers) got no activations of its width") }
        var tokens: [TokenID] = []
        for (index, entry) in description.batch.entries.enumerated() {
            let row = row(index, width: model.embeddingWidth, in: payload)
            guard row[1] == Float(entry.position % 1024), row[2] == Float(request.layers.first) else {
                throw ShoalError(.protocolViolation, "stage \(request.layers) got the activations of another token")
            }
            tokens.append(TokenID(rawValue: Int32(row[0])))
        }
        return tokens
    }

    private func row(_ index: Int, width: Int, in payload: ByteBuffer) -> [Float] {
        (0..<width).map { column in
            let offset = payload.readerIndex + (index * width + column) * 4
            let bits: UInt32 = payload.getInteger(at: offset, endianness: .little) ?? 0
            return Float(bitPattern: bits)
        }
    }

    private func forward(_ batch: MicroBatch, _ tokens: [TokenID]) -> Answer {
        guard !batch.entries.isEmpty else {
            return .forward(MicroBatchDescription(batch: batch, activations: nil), ByteBuffer())
        }
        var payload = ByteBuffer()
        for (entry, token) in zip(batch.entries, tokens) {
            let head = [Float(token.rawValue), Float(entry.position % 1024), Float(request.layers.end)]
            for column in 0..<model.embeddingWidth {
                payload.writeInteger((column < head.count ? head[column] : 0).bitPattern, endianness: .little)
            }
        }
        let tensor = TensorDescription(
            elementType: .float32, rowCount: UInt32(batch.entries.count), width: UInt32(model.embeddingWidth))
        return .forward(MicroBatchDescription(batch: batch, activations: tensor), payload)
    }

    private mutating func outputs(for batch: MicroBatch, wantsLogits: Bool) -> Answer {
        let tokens = batch.entries.filter(\.wantsOutput).compactMap { entry -> SampledToken? in
            if let next = expected[entry.sequence], next != (entry.position, entry.token) { return nil }
            let history = (histories[entry.sequence] ?? [:]).filter { $0.key <= entry.position }
            let token = model.next(after: history.sorted { $0.key < $1.key }.map(\.value))
            if samplers[entry.sequence] != nil { expected[entry.sequence] = (entry.position + 1, token) }
            return SampledToken(
                sequence: entry.sequence, token: token, piece: model.piece(of: token),
                isEndOfGeneration: token == FakeModel.endToken)
        }
        guard wantsLogits, !tokens.isEmpty else {
            return .outputs(OutputsDescription(tokens: tokens, logits: nil), ByteBuffer())
        }
        var payload = ByteBuffer()
        for token in tokens {
            for candidate in 0..<FakeModel.vocabularyTokenCount {
                let logit: Float = candidate == Int(token.token.rawValue) ? 1 : 0
                payload.writeInteger(logit.bitPattern, endianness: .little)
            }
        }
        let tensor = TensorDescription(
            elementType: .float32, rowCount: UInt32(tokens.count), width: UInt32(FakeModel.vocabularyTokenCount))
        return .outputs(OutputsDescription(tokens: tokens, logits: tensor), payload)
    }
}
