internal import CLlama
internal import CShoalEngine
package import ShoalCore
internal import ShoalModel

/// A stage's KV cache and compute buffers: applies KV operations and computes micro-batches.
///
/// Owned by the engine thread. All sequences share one pool of `contextTokenCount * sequenceCountMax` cells, so each
/// can have the whole context, and sequences can share the cells of a common prefix.
package final class StageContext {
    package struct Configuration: Sendable {
        /// Per sequence.
        package var contextTokenCount: Int
        package var sequenceCountMax: Int
        package var microBatchTokenCountMax: Int
        package var threadCount: Int

        package init(contextTokenCount: Int, sequenceCountMax: Int, microBatchTokenCountMax: Int, threadCount: Int) {
            self.contextTokenCount = contextTokenCount
            self.sequenceCountMax = sequenceCountMax
            self.microBatchTokenCountMax = microBatchTokenCountMax
            self.threadCount = threadCount
        }

        /// Entries of one micro-batch that may want an output; libllama reserves a row of logits for each.
        package var outputCountMax: Int {
            GraphLoad.outputCountMax(tokenCount: microBatchTokenCountMax, sequenceCount: sequenceCountMax)
        }

        /// Throws `invalidRequest` for values outside `Limits`.
        func validate() throws(ShoalError) {
            try require("context tokens", contextTokenCount, 1...Limits.contextTokenCountMax)
            try require("sequences", sequenceCountMax, 1...min(Limits.sequenceCountMax, llama_max_parallel_sequences()))
            try require("tokens of a micro-batch", microBatchTokenCountMax, 1...Limits.microBatchTokenCountMax)
            try require("threads", threadCount, 1...Configuration.threadCountMax)
        }

        private static let threadCountMax = 512

        private func require(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(ShoalError) {
            guard range.contains(value) else {
                throw ShoalError(
                    .invalidRequest, "\(value) \(name); allowed are \(range.lowerBound) to \(range.upperBound)")
            }
        }
    }

    package let model: StageModel
    package let configuration: Configuration
    /// Buffers of the weights; more than the weights where libllama keeps a matrix in two layouts.
    package let weightBufferBytes: ByteCount
    /// Bytes of the KV cache or recurrent state.
    package let cacheBytes: ByteCount
    /// Buffers that micro-batches are computed in.
    package let computeBytes: ByteCount

    /// What the last `decode` produced, row-major. In a stage that is not last one boundary row of `embeddingWidth` per
    /// entry; in the last stage one row of `vocabularyTokenCount` logits per entry that wants an output.
    package private(set) var rows: [Float] = []
    package var rowWidth: Int { model.isLast ? model.vocabularyTokenCount : model.embeddingWidth }

    /// How much of the last `decode` went into input rows.
    package private(set) var embedDuration = Duration.zero

    private let pointer: OpaquePointer
    private let tap: BoundaryTap?
    /// Input rows of the micro-batch that is being computed.
    private var input: [Float] = []

    /// Throws `invalidRequest` for values outside the limits, `insufficientMemory` when libllama makes no context.
    package init(model: StageModel, configuration: Configuration) throws(ShoalError) {
        try configuration.validate()
        let tap = model.isLast ? nil : BoundaryTap(name: model.boundaryTensorName ?? "")
        var parameters = StageContext.parameters(for: configuration, isLast: model.isLast)
        tap?.install(in: &parameters)
        guard let context = llama_init_from_model(model.pointer, parameters) else {
            throw ShoalError(
                .insufficientMemory,
                "llama_init_from_model returned NULL for \(configuration.sequenceCountMax) sequences of "
                    + "\(configuration.contextTokenCount) tokens\(LlamaLibrary.loggedErrors())")
        }
        pointer = context
        self.model = model
        self.configuration = configuration
        self.tap = tap
        let memory = shoal_context_memory(context)
        weightBufferBytes = ByteCount(Int(clamping: memory.weight_byte_count))
        cacheBytes = ByteCount(Int(clamping: memory.cache_byte_count))
        computeBytes = ByteCount(Int(clamping: memory.compute_byte_count))
    }

    deinit { llama_free(pointer) }

    private static func parameters(for configuration: Configuration, isLast: Bool) -> llama_context_params {
        var parameters = llama_context_default_params()
        let batch = UInt32(configuration.microBatchTokenCountMax)
        let cells = UInt32(configuration.contextTokenCount * configuration.sequenceCountMax)
        // libllama lowers n_batch to n_ctx, and asserts that no batch is larger.
        parameters.n_ctx = max(cells, batch)
        parameters.n_batch = batch
        // One graph per micro-batch: the boundary rows come out whole and in order.
        parameters.n_ubatch = batch
        parameters.n_seq_max = UInt32(configuration.sequenceCountMax)
        parameters.n_outputs_max = isLast ? UInt32(configuration.outputCountMax) : batch
        parameters.n_threads = Int32(configuration.threadCount)
        parameters.n_threads_batch = Int32(configuration.threadCount)
        // One pool of cells: copies may be partial, and entries keep their order in the graph.
        parameters.kv_unified = true
        parameters.swa_full = true
        parameters.no_perf = true
        return parameters
    }

    /// Applies the KV operations, then computes the entries; see `rows` for the result.
    ///
    /// `activations` are `entries.count * embeddingWidth` floats, nil where the entries' tokens are the input. Nothing
    /// has changed when this throws `invalidRequest`, `contextOverflow` or `protocolViolation`; after other errors the
    /// sequences of the micro-batch must be forgotten.
    package func decode(_ batch: MicroBatch, activations: [Float]?) throws(ShoalError) {
        try validate(batch, activationCount: activations?.count)
        let start = ContinuousClock.now
        try prepareInput(batch.entries, activations)
        embedDuration = ContinuousClock.now - start
        for operation in batch.kvOperations { try apply(operation) }
        let rowCount = model.isLast ? batch.entries.count { $0.wantsOutput } : batch.entries.count
        rows.removeAll(keepingCapacity: true)
        rows.append(contentsOf: repeatElement(0, count: rowCount * rowWidth))
        for group in groups(of: batch.entries) { try compute(group, of: batch.entries) }
    }

    /// Forgets every sequence.
    package func clear() { llama_memory_clear(memory, false) }

    /// Sequences that hold KV cells, sorted.
    package var sequencesInUse: [SequenceID] {
        (0..<Int32(configuration.sequenceCountMax)).filter { llama_memory_seq_pos_max(memory, $0) >= 0 }
            .map(SequenceID.init(rawValue:))
    }

    private var memory: llama_memory_t? { llama_get_memory(pointer) }
}

// MARK: - Computing

extension StageContext {
    private func prepareInput(_ entries: [BatchEntry], _ activations: [Float]?) throws(ShoalError) {
        if let activations {
            input = activations
        } else if let embedding = model.embedding {
            input.removeAll(keepingCapacity: true)
            input.append(contentsOf: repeatElement(0, count: entries.count * model.embeddingWidth))
            try embed(entries, with: embedding)
        }
    }

    private func embed(_ entries: [BatchEntry], with embedding: TokenEmbedding) throws(ShoalError) {
        let width = model.embeddingWidth
        var problem: ShoalError?
        input.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            do throws(ShoalError) {
                for (index, entry) in entries.enumerated() {
                    try embedding.write(entry.token, to: base + index * width)
                }
            } catch {
                problem = error
            }
        }
        if let problem { throw problem }
    }

    /// Indices of the entries that one call of libllama computes. Attention takes them all at once and keeps their
    /// order; recurrent memories reorder entries of several sequences, so each sequence gets a call of its own.
    private func groups(of entries: [BatchEntry]) -> [[Int]] {
        guard !entries.isEmpty else { return [] }
        guard model.isRecurrent else { return [Array(entries.indices)] }
        var order: [SequenceID] = []
        var indices: [SequenceID: [Int]] = [:]
        for (index, entry) in entries.enumerated() {
            if indices[entry.sequence] == nil { order.append(entry.sequence) }
            indices[entry.sequence, default: []].append(index)
        }
        return order.compactMap { indices[$0] }
    }

    private func compute(_ group: [Int], of entries: [BatchEntry]) throws(ShoalError) {
        let chosen = group.map { entries[$0] }
        let positions = chosen.map(\.position)
        let sequences = chosen.map(\.sequence.rawValue)
        let outputs: [Int8] = chosen.map { !model.isLast || $0.wantsOutput ? 1 : 0 }
        let count = Int32(group.count)
        tap?.clear()
        var error: UnsafeMutablePointer<CChar>?
        let result: Int32
        if model.takesTokens {
            result = shoal_decode(
                pointer, count, chosen.map(\.token.rawValue), nil, positions, sequences, outputs, &error)
        } else {
            result = shoal_decode(pointer, count, nil, inputRows(group), positions, sequences, outputs, &error)
        }
        try requireSuccess(result, LlamaLibrary.taken(error), entryCount: group.count)
        if model.isLast {
            try takeLogits(group, of: entries)
        } else {
            try takeBoundary(group)
        }
    }

    private func inputRows(_ group: [Int]) -> [Float] {
        let width = model.embeddingWidth
        guard group.count * width != input.count else { return input }
        return group.flatMap { input[$0 * width..<($0 + 1) * width] }
    }

    private func takeLogits(_ group: [Int], of entries: [BatchEntry]) throws(ShoalError) {
        let width = rowWidth
        for (place, index) in group.enumerated() where entries[index].wantsOutput {
            guard let logits = llama_get_logits_ith(pointer, Int32(place)) else {
                throw ShoalError(
                    .internal, "llama_get_logits_ith(\(place)) returned NULL\(LlamaLibrary.loggedErrors())")
            }
            let row = entries[..<index].count { $0.wantsOutput }
            rows.replaceSubrange(
                row * width..<(row + 1) * width, with: UnsafeBufferPointer(start: logits, count: width))
        }
    }

    private func takeBoundary(_ group: [Int]) throws(ShoalError) {
        guard let tap else { preconditionFailure("a stage that is not last has a tap") }
        let width = rowWidth
        if let problem = tap.problem { throw ShoalError(.unsupportedFamily, "\(model.family): \(problem)") }
        guard tap.rows.count == group.count * width else {
            throw ShoalError(
                .unsupportedFamily,
                "\(model.family): \(model.boundaryTensorName ?? "no tensor") gave \(tap.rows.count) elements "
                    + "for \(group.count) rows of \(width)")
        }
        for (place, index) in group.enumerated() {
            rows.replaceSubrange(
                index * width..<(index + 1) * width, with: tap.rows[place * width..<(place + 1) * width])
        }
    }

    /// Source of the meanings: `llama_decode`, llama.h.
    private func requireSuccess(_ result: Int32, _ thrown: String?, entryCount: Int) throws(ShoalError) {
        guard result != 0 else { return }
        if let thrown { throw ShoalError(.internal, "llama_decode threw: \(thrown)") }
        let what = "llama_decode returned \(result) for \(entryCount) entries of layers \(model.layers)"
        let logged = LlamaLibrary.loggedErrors()
        switch result {
        case 1: throw ShoalError(.contextOverflow, "\(what): no free KV cells; use fewer or shorter sequences\(logged)")
        case 2: throw ShoalError(.cancelled, "\(what): aborted\(logged)")
        case -1: throw ShoalError(.invalidRequest, "\(what): the entries are not acceptable\(logged)")
        case -2: throw ShoalError(.insufficientMemory, "\(what): memory could not be allocated or prepared\(logged)")
        default: throw ShoalError(.internal, "\(what): the computation failed\(logged)")
        }
    }
}

// MARK: - The KV cache

extension StageContext {
    /// libllama asserts on sequence numbers and batch sizes, and throws on others: everything foreign is checked here.
    private func validate(_ batch: MicroBatch, activationCount: Int?) throws(ShoalError) {
        guard batch.entries.count <= configuration.microBatchTokenCountMax else {
            throw ShoalError(
                .invalidRequest,
                "a micro-batch of \(batch.entries.count) entries; "
                    + "this stage takes \(configuration.microBatchTokenCountMax)"
            )
        }
        try validateInput(batch.entries.count, activationCount)
        let outputCount = batch.entries.count { $0.wantsOutput }
        guard outputCount <= configuration.outputCountMax else {
            throw ShoalError(
                .invalidRequest, "\(outputCount) entries want an output; at most \(configuration.outputCountMax) may")
        }
        for entry in batch.entries { try validate(entry) }
        for operation in batch.kvOperations { try validate(operation) }
    }

    private func validateInput(_ entryCount: Int, _ activationCount: Int?) throws(ShoalError) {
        guard entryCount > 0 else { return }
        if model.isFirst {
            guard activationCount == nil else {
                throw ShoalError(
                    .protocolViolation, "the first stage got activations; its input is the entries' tokens")
            }
        } else {
            guard activationCount == entryCount * model.embeddingWidth else {
                throw ShoalError(
                    .protocolViolation,
                    "layers \(model.layers) got \(activationCount ?? 0) activations for \(entryCount) entries of "
                        + "\(model.embeddingWidth)")
            }
        }
    }

    private func validate(_ entry: BatchEntry) throws(ShoalError) {
        try validate(entry.sequence)
        guard (0..<configuration.contextTokenCount).contains(Int(entry.position)) else {
            throw ShoalError(
                .contextOverflow,
                "position \(entry.position) of sequence \(entry.sequence) is outside the context of "
                    + "\(configuration.contextTokenCount) tokens")
        }
    }

    private func validate(_ sequence: SequenceID) throws(ShoalError) {
        guard (0..<configuration.sequenceCountMax).contains(Int(sequence.rawValue)) else {
            throw ShoalError(
                .invalidRequest,
                "sequence \(sequence); this stage has sequences 0 to \(configuration.sequenceCountMax - 1)")
        }
    }

    private func validate(_ operation: KVOperation) throws(ShoalError) {
        switch operation {
        case .remove(let sequence, let from, let to):
            try validate(sequence)
            try validateRange(from, to)
        case .copy(let source, let destination, let from, let to):
            try validate(source)
            try validate(destination)
            try validateRange(from, to)
        case .keep(let sequence):
            try validate(sequence)
        case .clear:
            break
        }
    }

    private func validateRange(_ from: Int32, _ to: Int32) throws(ShoalError) {
        guard from >= 0, to > from else {
            throw ShoalError(.invalidRequest, "positions \(from)..<\(to) are no range")
        }
    }

    private func apply(_ operation: KVOperation) throws(ShoalError) {
        switch operation {
        case .remove(let sequence, let from, let to):
            try remove(sequence, from, to)
        case .copy(let source, let destination, let from, let to):
            try copy(source, destination, from, to)
        case .keep(let sequence):
            keep(sequence)
        case .clear:
            clear()
        }
    }

    /// A range that covers the sequence removes all of it, which also recurrent families can.
    private func remove(_ sequence: SequenceID, _ from: Int32, _ to: Int32) throws(ShoalError) {
        let end = length(of: sequence)
        let isWhole = from == 0 && to >= end
        guard llama_memory_seq_rm(memory, sequence.rawValue, isWhole ? -1 : from, isWhole || to == .max ? -1 : to)
        else {
            throw ShoalError(
                .invalidRequest,
                "llama_memory_seq_rm cannot remove positions \(from)..<\(to) of sequence \(sequence), "
                    + "which has \(end): \(model.family) keeps a recurrent state and forgets only whole sequences")
        }
    }

    private func copy(
        _ source: SequenceID, _ destination: SequenceID, _ from: Int32, _ to: Int32
    ) throws(ShoalError) {
        guard source != destination else { return }
        guard length(of: destination) <= from else {
            throw ShoalError(
                .invalidRequest,
                "copy of positions \(from)..<\(to) to sequence \(destination), "
                    + "which has \(length(of: destination)) already: remove them first")
        }
        guard !model.isRecurrent || (from == 0 && to >= length(of: source)) else {
            throw ShoalError(
                .invalidRequest,
                "copy of positions \(from)..<\(to) of sequence \(source), which has \(length(of: source)): "
                    + "\(model.family) keeps a recurrent state and copies only whole sequences")
        }
        llama_memory_seq_cp(memory, source.rawValue, destination.rawValue, from, to == .max ? -1 : to)
    }

    /// `llama_memory_seq_keep` means another thing for cells that sequences share; removing the others is the contract.
    private func keep(_ sequence: SequenceID) {
        for other in sequencesInUse where other != sequence { _ = llama_memory_seq_rm(memory, other.rawValue, -1, -1) }
    }

    /// One past the last position; 0 when the sequence is empty.
    private func length(of sequence: SequenceID) -> Int32 { llama_memory_seq_pos_max(memory, sequence.rawValue) + 1 }
}
