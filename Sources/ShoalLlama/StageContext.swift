internal import CLlama
internal import CShoalEngine
package import ShoalCore
internal import ShoalModel

/// A stage's KV cache and compute buffers: applies KV operations and computes micro-batches.
///
/// Owned by the engine thread. Each sequence has `contextTokenCount` cells of its own, so that no answer pays for what
/// others hold.
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

    let pointer: OpaquePointer
    private let tap: BoundaryTap?
    /// Input rows of the micro-batch that is being computed.
    private var input: [Float] = []

    /// Throws `invalidRequest` for values outside the limits, `insufficientMemory` when libllama makes no context.
    package init(model: StageModel, configuration: Configuration) throws(ShoalError) {
        try configuration.validate()
        let tap = model.isLast ? nil : BoundaryTap(name: model.boundaryTensorName ?? "")
        var parameters = StageContext.parameters(for: configuration, isLast: model.isLast)
        tap?.install(in: &parameters)
        // libllama clears the whole KV cache, most of which is not needed for long: 400 MB took four times as long with
        // huge pages on a virtual machine that had been idle for some seconds.
        shoal_allow_huge_pages(false)
        defer { shoal_allow_huge_pages(true) }
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
        let cells = GraphLoad.cellsPerSequence(
            contextTokenCount: configuration.contextTokenCount, sequenceCount: configuration.sequenceCountMax,
            microBatchTokenCountMax: configuration.microBatchTokenCountMax)
        parameters.n_ctx = UInt32(cells * configuration.sequenceCountMax)
        parameters.n_batch = batch
        // One graph per micro-batch: the boundary rows come out whole and in order.
        parameters.n_ubatch = batch
        parameters.n_seq_max = UInt32(configuration.sequenceCountMax)
        parameters.n_outputs_max = isLast ? UInt32(configuration.outputCountMax) : batch
        parameters.n_threads = Int32(configuration.threadCount)
        parameters.n_threads_batch = Int32(configuration.threadCount)
        // With one pool for all, attention goes over the cells of every conversation that is kept.
        parameters.kv_unified = false
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

    var memory: llama_memory_t? { llama_get_memory(pointer) }
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

    /// Indices of the entries that one call of libllama computes, in one graph and in the given order.
    ///
    /// Attention takes neighbouring sequences with as many entries each together; source: `split_equal`,
    /// llama-batch.cpp. Recurrent memories reorder entries of several sequences, so each gets a call of its own.
    private func groups(of entries: [BatchEntry]) -> [[Int]] {
        var indices: [SequenceID: [Int]] = [:]
        for (index, entry) in entries.enumerated() { indices[entry.sequence, default: []].append(index) }
        var groups: [[Int]] = []
        var latest: (sequence: SequenceID, entryCount: Int)?
        for sequence in indices.keys.sorted() {
            let own = indices[sequence] ?? []
            let joins = latest.map { $0.sequence.rawValue + 1 == sequence.rawValue && $0.entryCount == own.count }
            if joins == true, !model.isRecurrent {
                groups[groups.count - 1] += own
            } else {
                groups.append(own)
            }
            latest = (sequence, own.count)
        }
        return groups
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
        guard !group.elementsEqual(0..<input.count / width) else { return input }
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
