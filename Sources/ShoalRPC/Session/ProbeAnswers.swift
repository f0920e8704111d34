/// A question to an rpc-server whose answer cannot change while its process lives. docs/rpc.md says why for each.
package enum ProbeQuestion: Sendable, Hashable {
    case hello
    case deviceCount
    case alignment(device: UInt32)
    case maxSize(device: UInt32)
    /// The device, and what of the tensor and its sources the answer depends on.
    case allocSize([UInt8])

    /// Nil for every other request.
    package init?(_ request: RPCRequest) {
        let front = request.front
        switch request.command {
        case .hello: self = .hello
        case .deviceCount: self = .deviceCount
        case .getAlignment: self = .alignment(device: LittleEndian.read(from: front, at: 0))
        case .getMaxSize: self = .maxSize(device: LittleEndian.read(from: front, at: 0))
        case .getAllocSize:
            // A buffer's address may name another buffer later; only questions without one can be asked again.
            guard RPCTensor(front.dropFirst(4)).buffer == 0 else { return nil }
            let tensors = (0..<11).flatMap { RPCTensor.sizeQuestion(front.dropFirst(4 + $0 * RPCTensor.byteCount)) }
            self = .allocSize(Array(front.prefix(4)) + tensors)
        default: return nil
        }
    }
}

/// Answers of one rpc-server process that are kept: the bodies of its replies.
package struct ProbeAnswers: Sendable {
    private var answers: [ProbeQuestion: [UInt8]] = [:]

    package init() {}

    package var count: Int { answers.count }

    package subscript(_ question: ProbeQuestion) -> [UInt8]? { answers[question] }

    /// Full is full: llama-server asks the important ones first.
    package mutating func keep(_ answer: [UInt8], to question: ProbeQuestion) {
        guard answers.count < RPCLimits.keptAnswerCountMax else { return }
        answers[question] = answer
    }
}
