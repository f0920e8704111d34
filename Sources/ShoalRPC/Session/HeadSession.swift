/// What the head's end of a tunnel does with one session of llama-server, as a value: which bytes go on, which become
/// pieces, and which questions it answers itself.
///
/// It never holds more than the front of one request and the answers that wait for their turn. `docs/rpc.md` says what
/// is done with each command and why.
package struct HeadSession: Sendable {
    /// What to do, in this order.
    package enum Action: Sendable, Hashable {
        /// Bytes for the rpc-server.
        case send([UInt8])
        /// The next so many bytes of llama-server's input, for the rpc-server.
        case sendInput(Int)
        /// The next so many bytes of llama-server's input belong to the current piece.
        case collect(Int)
        /// The current piece is complete.
        case endPiece(PieceSpan)
        /// Bytes for llama-server.
        case answer([UInt8])
        /// The next so many bytes of the rpc-server's input, for llama-server.
        case answerInput(Int)
        /// Worth keeping for later sessions.
        case learned(ProbeQuestion, answer: [UInt8])
        /// Something else than a question goes to the rpc-server: what its devices have free may change.
        case memoryChanges
        /// The two sides disagree with what this session was told; nothing sensible can follow.
        case fail(String)
    }

    private enum PendingReply {
        /// Comes from the rpc-server; kept if it answers a question.
        case remote(RPCRequest, ProbeQuestion?)
        /// Comes from the rpc-server, and llama-server has had it already.
        case swallowed(equalTo: [UInt8])
        /// Comes from the rpc-server, and llama-server has had what was taken for it.
        case guessed(UncheckedGuess)
        /// Ours, waiting for its turn.
        case local([UInt8])

        /// Whether llama-server has had its answer.
        var isAnswered: Bool {
            switch self {
            case .swallowed, .guessed: true
            case .remote, .local: false
            }
        }
    }

    private let index: TensorIndex
    private var answers: ProbeAnswers
    private var parser = RPCRequestParser()
    private var reader = ReplyReader()
    private var pending: [PendingReply] = []
    private var weight: WeightWrite?
    /// The HELLO that the rpc-server has not seen, because llama-server had its answer from `answers`.
    private var heldHello: RPCRequest?
    /// Whether the rpc-server had its HELLO in a session before.
    private var isGreeted: Bool
    /// The rpc-server is asked before it gets anything else.
    private var guesses: [UncheckedGuess] = []
    private var allocatedByteCount = 0
    package private(set) var traffic = RPCTraffic()

    /// `index` is of the model that is loaded; `answers` were learned in earlier sessions with the same rpc-server, and
    /// `isGreeted` says that its connection is one of theirs, which needs the answer to HELLO.
    package init(index: TensorIndex, answers: ProbeAnswers = ProbeAnswers(), isGreeted: Bool = false) {
        self.index = index
        self.answers = answers
        self.isGreeted = isGreeted && answers[.hello] != nil
    }

    /// Whether the rpc-server's connection can serve another session: it was only asked questions, and has answered.
    package var isReusable: Bool {
        let questions: Set<RPCCommand> = [
            .hello, .deviceCount, .getAlignment, .getMaxSize, .getAllocSize, .getDeviceMemory,
        ]
        return parser.isBetweenRequests && pending.isEmpty && (isGreeted || heldHello == nil)
            && traffic.commands[.hello] != nil && traffic.commands.keys.allSatisfy(questions.contains)
    }

    /// The connection of an earlier session was lost before this one used it; the next one needs a HELLO.
    package mutating func needsGreeting() { isGreeted = false }

    package var isPassThrough: Bool { parser.isPassThrough }

    /// Whether llama-server waits for something from the rpc-server.
    package var awaitsReply: Bool {
        pending.contains { if case .remote = $0 { true } else { false } }
    }

    /// Guesses that earlier sessions made: no answer of the rpc-server reaches llama-server before they are checked.
    /// False when they cannot be, in which case the session must end.
    package mutating func adopt(_ earlier: [UncheckedGuess]) -> Bool {
        guard !earlier.isEmpty else { return true }
        guesses = earlier + guesses
        return !parser.isPassThrough
    }

    /// Guesses that the rpc-server was not asked about; a later session must be.
    package mutating func takeUncheckedGuesses() -> [UncheckedGuess] {
        defer { guesses = [] }
        return guesses
    }

    /// What the devices have free is not what it was.
    package mutating func forgetMemory() { answers.forgetMemory() }

    /// The rpc-server is another process than the one that the answers came from.
    package mutating func forgetAnswers() {
        // The HELLO's is still to be compared with.
        let hello = answers[.hello]
        answers = ProbeAnswers()
        if let hello { answers.keep(hello, to: .hello) }
    }

    /// The worker had a piece.
    package mutating func pieceFound(byteCount: Int, inCache: Bool) {
        if inCache {
            traffic.weights.fromCacheByteCount += byteCount
        } else {
            traffic.weights.fromFileByteCount += byteCount
        }
    }

    /// The worker did not have a piece, and got it.
    package mutating func pieceSent(byteCount: Int) { traffic.weights.sentByteCount += byteCount }

    // MARK: From llama-server

    /// Takes bytes from the front of `input` and appends what to do to `actions`. Returns how many were taken; all of
    /// them and no action means that more is needed. The actions that speak of input mean these bytes.
    package mutating func received(_ input: UnsafeRawBufferPointer, _ actions: inout [Action]) -> Int {
        let (byteCount, event) = parser.next(input)
        switch event {
        case nil: break
        case .request(let request): handle(request, &actions)
        case .body(let count): handleBody(count, &actions)
        case .passThrough(let bytes):
            endUnderstanding(&actions)
            send(bytes, &actions)
        case .plain(let count): actions.append(.sendInput(count))
        }
        return byteCount
    }

    private mutating func handle(_ request: RPCRequest, _ actions: inout [Action]) {
        traffic.count(request)
        let question = ProbeQuestion(request)
        if let question, let answer = answers[question] {
            if request.command == .hello { heldHello = request.withoutCapabilities }
            return answerHere(request, answer, &actions)
        }
        if let question, guesses.count < RPCLimits.uncheckedGuessCountMax, let guess = answers.guess(question) {
            guesses.append(UncheckedGuess(request: request, question: question, answer: guess))
            return answerHere(request, guess, &actions)
        }
        if question == nil {
            answers.forgetMemory()
            actions.append(.memoryChanges)
        }
        switch request.command {
        case .setTensorHash: answerHere(request, [0], &actions)
        case .setTensor: handleSetTensor(request, &actions)
        case .hello: forward(request.withoutCapabilities, question, &actions)
        default: forward(request, question, &actions)
        }
    }

    private mutating func answerHere(_ request: RPCRequest, _ body: [UInt8], _ actions: inout [Action]) {
        traffic.answeredLocally[request.command, default: 0] += 1
        let reply = LittleEndian.bytes(UInt64(body.count)) + body
        if pending.allSatisfy(\.isAnswered) {
            actions.append(.answer(reply))
        } else {
            wait(for: .local(reply), &actions)
        }
    }

    private mutating func forward(_ request: RPCRequest, _ question: ProbeQuestion?, _ actions: inout [Action]) {
        send(request.bytes, &actions)
        guard let byteCount = request.replyByteCount else { return }
        wait(for: .remote(request, question?.isLasting == true ? question : nil), &actions)
        if byteCount > RPCLimits.tensorByteCountMax { beginPassThrough(&actions) }
    }

    private mutating func wait(for reply: PendingReply, _ actions: inout [Action]) {
        pending.append(reply)
        if pending.count > RPCLimits.pendingReplyCountMax { beginPassThrough(&actions) }
    }

    private mutating func handleSetTensor(_ request: RPCRequest, _ actions: inout [Action]) {
        let head = SetTensorHead(request.front)
        guard request.remaining >= UInt64(PieceSpan.byteCountMin),
            let size = index.weightByteCount(head, byteCount: request.remaining)
        else { return forward(request, nil, &actions) }
        if traffic.weights.allByteCount == 0 { traffic.expectedWeightByteCount = allocatedByteCount }
        traffic.weights.allByteCount += Int(request.remaining)
        weight = WeightWrite(head: head, tensorByteCount: size, byteCount: request.remaining)
        send(request.withoutCacheFlag.bytes, &actions)
    }

    private mutating func handleBody(_ count: Int, _ actions: inout [Action]) {
        guard var write = weight else { return actions.append(.sendInput(count)) }
        write.advance(by: count, &actions)
        weight = write.isComplete ? nil : write
    }

    /// Everything for the rpc-server goes through here, so that it sees the HELLO first, and then what was guessed.
    private mutating func send(_ bytes: [UInt8], _ actions: inout [Action]) {
        if let hello = heldHello, !isGreeted {
            heldHello = nil
            actions.append(.send(hello.bytes))
            if let answer = answers[.hello] {
                pending.insert(.swallowed(equalTo: LittleEndian.bytes(UInt64(answer.count)) + answer), at: 0)
            }
        }
        for guess in takeUncheckedGuesses() {
            actions.append(.send(guess.request.bytes))
            pending.append(.guessed(guess))
        }
        if !bytes.isEmpty { actions.append(.send(bytes)) }
    }

    // MARK: From the rpc-server

    /// As `received`, for bytes of the rpc-server.
    package mutating func replied(_ input: UnsafeRawBufferPointer, _ actions: inout [Action]) -> Int {
        guard !parser.isPassThrough else {
            // A HELLO that llama-server knows nothing of may still be unanswered.
            guard pending.first?.isAnswered == true else {
                if !input.isEmpty { actions.append(.answerInput(input.count)) }
                return input.count
            }
            return nextReply(input, &actions)
        }
        return nextReply(input, &actions)
    }

    private mutating func nextReply(_ input: UnsafeRawBufferPointer, _ actions: inout [Action]) -> Int {
        let (byteCount, event) = reader.next(input, expectation)
        switch event {
        case nil: break
        case .bytes(let bytes, let isLast): handleReply(bytes, isLast: isLast, &actions)
        case .input(let count, let isLast):
            actions.append(.answerInput(count))
            if isLast { finishReply(&actions) }
        case .violation(let bytes):
            beginPassThrough(&actions)
            actions.append(.answer(bytes))
        }
        return byteCount
    }

    private var expectation: ReplyReader.Expectation? {
        switch pending.first {
        case nil, .local: nil
        case .swallowed(let reply): .init(byteCount: UInt64(reply.count) - 8, isStreamed: false)
        case .guessed(let guess): .init(byteCount: UInt64(guess.answer.count), isStreamed: false)
        case .remote(let request, _):
            request.replyByteCount.map { .init(byteCount: $0, isStreamed: request.command == .getTensor) }
        }
    }

    private mutating func handleReply(_ bytes: [UInt8], isLast: Bool, _ actions: inout [Action]) {
        switch pending.first {
        case nil, .local: break
        case .swallowed(let expected):
            if bytes != expected {
                actions.append(.fail("the rpc-server is another one than before: its HELLO has changed"))
            }
        case .guessed(let guess): check(guess, Array(bytes.dropFirst(8)), &actions)
        case .remote(let request, let question):
            let reply = isLast ? handleRemote(bytes, request, question, &actions) : bytes
            actions.append(.answer(reply))
        }
        if isLast { finishReply(&actions) }
    }

    private mutating func check(_ guess: UncheckedGuess, _ answer: [UInt8], _ actions: inout [Action]) {
        answers.keep(answer, to: guess.question)
        // Also a wrong one: the next launch knows better.
        actions.append(.learned(guess.question, answer: answer))
        guard answer != guess.answer else { return }
        actions.append(
            .fail(
                "the rpc-server needs another size for a tensor than was guessed; llama-server must start again, and "
                    + "will be told the right one"))
    }

    /// Returns the reply as llama-server gets it.
    private mutating func handleRemote(
        _ bytes: [UInt8], _ request: RPCRequest, _ question: ProbeQuestion?, _ actions: inout [Action]
    ) -> [UInt8] {
        var reply = bytes
        let body = bytes.dropFirst(8)
        if request.command == .hello {
            // The capabilities: 24 bytes after three of version and one of padding.
            reply.replaceSubrange(12..<36, with: Array(repeating: 0, count: 24))
            if body.first != RPCLimits.majorVersion {
                beginPassThrough(&actions)
                return reply
            }
        }
        if request.command == .allocBuffer, LittleEndian.read(UInt64.self, from: body, at: 0) != 0 {
            let size = LittleEndian.read(UInt64.self, from: body, at: 8)
            allocatedByteCount = allocatedByteCount.addingReportingOverflow(Int(clamping: size)).partialValue
        }
        if let question {
            let answer = Array(reply.dropFirst(8))
            answers.keep(answer, to: question)
            actions.append(.learned(question, answer: answer))
        }
        return reply
    }

    private mutating func finishReply(_ actions: inout [Action]) {
        guard !pending.isEmpty else { return }
        pending.removeFirst()
        while case .local(let reply) = pending.first {
            pending.removeFirst()
            actions.append(.answer(reply))
        }
    }

    // MARK: Giving up understanding

    private mutating func beginPassThrough(_ actions: inout [Action]) {
        let bytes = parser.passThrough()
        // A weight that is being written ends as plain bytes; what was collected of its piece goes as a piece.
        if let write = weight { write.cutShort(&actions) }
        weight = nil
        endUnderstanding(&actions)
        if !bytes.isEmpty { send(bytes, &actions) }
    }

    /// Nobody will say any more when the turn of an answer has come.
    private mutating func endUnderstanding(_ actions: inout [Action]) {
        if !guesses.isEmpty { send([], &actions) }
        let swallowed = pending.prefix(while: \.isAnswered)
        if swallowed.isEmpty { actions.append(.answer(reader.takePartial())) }
        for case .local(let reply) in pending { actions.append(.answer(reply)) }
        if pending.dropFirst(swallowed.count).contains(where: \.isAnswered) {
            actions.append(.fail("the stream cannot be followed any more, and a guess was not checked yet"))
        }
        pending = Array(swallowed)
    }
}

extension RPCRequest {
    /// A HELLO that offers no other transport than this one.
    fileprivate var withoutCapabilities: RPCRequest {
        RPCRequest(command: command, bytes: bytes.prefix(9) + Array(repeating: 0, count: 24), remaining: remaining)
    }

    /// A SET_TENSOR that the server does not keep a copy of: the worker's end has its own cache.
    fileprivate var withoutCacheFlag: RPCRequest {
        var bytes = bytes
        bytes[9 + SetTensorHead.cacheFlagOffset] = 0
        return RPCRequest(command: command, bytes: bytes, remaining: remaining)
    }
}
