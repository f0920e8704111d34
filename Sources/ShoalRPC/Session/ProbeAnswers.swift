/// A question to an rpc-server that may be answered at the head's end. docs/rpc.md says why for each.
package enum ProbeQuestion: Sendable, Hashable {
    case hello
    case deviceCount
    case alignment(device: UInt32)
    case maxSize(device: UInt32)
    /// The only one whose answer changes: it is never learned from a session, and true for a moment only.
    case memory(device: UInt32)
    case allocSize(AllocSizeQuestion)

    /// Nil for every other request.
    package init?(_ request: RPCRequest) {
        let front = request.front
        switch request.command {
        case .hello: self = .hello
        case .deviceCount: self = .deviceCount
        case .getAlignment: self = .alignment(device: LittleEndian.read(from: front, at: 0))
        case .getMaxSize: self = .maxSize(device: LittleEndian.read(from: front, at: 0))
        case .getDeviceMemory: self = .memory(device: LittleEndian.read(from: front, at: 0))
        case .getAllocSize:
            // A buffer's address may name another buffer later; only questions without one can be asked again.
            guard RPCTensor(front.dropFirst(4)).buffer == 0 else { return nil }
            self = .allocSize(AllocSizeQuestion(front))
        default: return nil
        }
    }

    /// Whether its answer holds as long as the server's process lives.
    var isLasting: Bool {
        if case .memory = self { false } else { true }
    }
}

/// Answers of one rpc-server process that are kept: the bodies of its replies.
package struct ProbeAnswers: Sendable {
    private var answers: [ProbeQuestion: [UInt8]] = [:]
    private var guessing = AllocSizeGuessing()
    private var knowsMemory = false

    package init() {}

    /// What the server's own node has just asked it. `facts` without a HELLO, or of too many devices, tells nothing.
    package init(_ facts: RPCServerFacts) {
        guard let hello = facts.hello, hello.count == 28, facts.devices.count <= RPCLimits.deviceCountMax else {
            return
        }
        keep(hello, to: .hello)
        keep(LittleEndian.bytes(UInt32(facts.devices.count)), to: .deviceCount)
        for (index, device) in facts.devices.enumerated() {
            let number = UInt32(index)
            let memory = LittleEndian.bytes(device.freeByteCount) + LittleEndian.bytes(device.totalByteCount)
            keep(memory, to: .memory(device: number))
            if let alignment = device.alignment { keep(LittleEndian.bytes(alignment), to: .alignment(device: number)) }
            if let size = device.maxByteCount { keep(LittleEndian.bytes(size), to: .maxSize(device: number)) }
            if device.addsNoPadding { guessing.trust(device: number) }
        }
    }

    package var count: Int { answers.count }

    package subscript(_ question: ProbeQuestion) -> [UInt8]? { answers[question] }

    /// Full is full: llama-server asks the important ones first.
    package mutating func keep(_ answer: [UInt8], to question: ProbeQuestion) {
        if case .allocSize(let question) = question { guessing.learn(answer, to: question) }
        guard answers.count < RPCLimits.keptAnswerCountMax else { return }
        answers[question] = answer
        if !question.isLasting { knowsMemory = true }
    }

    /// What the server will most probably say; whoever uses it asks the server all the same, and compares.
    package func guess(_ question: ProbeQuestion) -> [UInt8]? {
        guard case .allocSize(let question) = question else { return nil }
        return guessing.guess(question)
    }

    /// Takes over what `newer` says, and keeps the rest.
    package mutating func merge(_ newer: ProbeAnswers) {
        answers.merge(newer.answers) { $1 }
        knowsMemory = knowsMemory || newer.knowsMemory
        guessing.trust(devicesOf: newer.guessing)
    }

    /// Cheap where nothing is known of it.
    package mutating func forgetMemory() {
        guard knowsMemory else { return }
        answers = answers.filter { $0.key.isLasting }
        knowsMemory = false
    }
}
