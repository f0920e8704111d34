internal import CLlama
internal import ShoalCore

/// The KV cache: what may be asked of it, and doing so.
extension StageContext {
    /// libllama asserts on sequence numbers and batch sizes, and throws on others: everything foreign is checked here.
    func validate(_ batch: MicroBatch, activationCount: Int?) throws(ShoalError) {
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

    func apply(_ operation: KVOperation) throws(ShoalError) {
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
        guard from == 0 else {
            throw ShoalError(
                .invalidRequest, "copy of positions \(from)..<\(to) of sequence \(source): copies begin at position 0")
        }
        let length = length(of: source)
        guard !model.isRecurrent || to >= length else {
            throw ShoalError(
                .invalidRequest,
                "copy of positions \(from)..<\(to) of sequence \(source), which has \(length): "
                    + "\(model.family) keeps a recurrent state and copies only whole sequences")
        }
        // Between cells of different sequences libllama copies everything or nothing.
        llama_memory_seq_cp(memory, source.rawValue, destination.rawValue, -1, -1)
        guard to < length else { return }
        try remove(destination, to, .max)
    }

    /// `llama_memory_seq_keep` means another thing for cells that sequences share; removing the others is the contract.
    private func keep(_ sequence: SequenceID) {
        for other in sequencesInUse where other != sequence { _ = llama_memory_seq_rm(memory, other.rawValue, -1, -1) }
    }

    /// One past the last position; 0 when the sequence is empty.
    private func length(of sequence: SequenceID) -> Int32 { llama_memory_seq_pos_max(memory, sequence.rawValue) + 1 }
}
