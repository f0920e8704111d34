import Logging
import ShoalCore
import ShoalEngine
import ShoalScheduling

/// Requests: from text to tokens, into the scheduler, and its actions.
extension HeadService {
    /// Takes a request. Returns once it is queued or running; its events, from `started` on, go to `sink`.
    /// Throws `unavailable`, `invalidRequest`, `contextOverflow`, `overloaded`.
    func submit(_ request: GenerationRequest, sink: @escaping Sink) async throws(ShoalError) {
        try requireServing()
        let prompt = try await tokens(of: request.input)
        var sampling = request.sampling
        if let grammar = try await grammar(for: request.responseFormat) { sampling.grammar = grammar }
        let answerSoFar = try await answered(request.answerSoFar ?? [])
        try requireServing()
        guard !forgetEarlyCancel(request.id) else {
            throw ShoalError(.cancelled, "request \(request.id) was cancelled before it could run")
        }
        // The reader lost us for a moment and has come back.
        if request.answerSoFar != nil, sinks[request.id] != nil { cancel(request.id) }
        guard sinks[request.id] == nil else { throw ShoalError(.invalidRequest, "request \(request.id) runs already") }
        var tokenized = TokenizedRequest(
            id: request.id, promptTokens: prompt, sampling: sampling, stopSequences: request.stopSequences,
            outputTokenCountMax: request.outputTokenCountMax, speculation: request.speculation)
        tokenized.answerSoFar = answerSoFar
        guard let actions = try scheduler?.submit(tokenized, now: now) else {
            throw ShoalError(.unavailable, "the instance is not ready")
        }
        sinks[request.id] = sink
        perform(actions)
    }

    /// The reader left. Its sink hears `failed` all the same, so that whoever keeps books about it can close them.
    ///
    /// A request that is not known is still being tokenized, or ended already; `submit` must not run it in the first
    /// case.
    func cancel(_ id: RequestID) {
        guard sinks[id] != nil else {
            if earlyCancels.count >= Self.earlyCancelCountMax { earlyCancels.removeFirst() }
            return earlyCancels.append(id)
        }
        perform(scheduler?.cancel(id, now: now) ?? [])
    }

    /// Whether the reader left before the request could be submitted.
    private func forgetEarlyCancel(_ id: RequestID) -> Bool {
        guard let index = earlyCancels.firstIndex(of: id) else { return false }
        earlyCancels.remove(at: index)
        return true
    }

    func consumed(_ id: RequestID, tokenCount: Int) {
        perform(scheduler?.consumed(id, tokenCount: tokenCount, now: now) ?? [])
    }

    private func requireServing() throws(ShoalError) {
        guard lifecycle.phase.isServing else {
            let why = lifecycle.problem.map { ": \($0.message)" } ?? ""
            throw ShoalError(
                .unavailable,
                "the model \(order.model.name) is \(lifecycle.phase.rawValue), not ready\(why); try again soon")
        }
    }

    private func tokens(of input: GenerationRequest.Input) async throws(ShoalError) -> [TokenID] {
        switch input {
        case .tokens(let tokens): return try checked(tokens)
        case .text(let text): return try await tokenize(text)
        case .chat(let messages):
            guard case .text(let text) = try await ask(.renderChat(messages)) else { throw Self.unexpectedReply }
            return try await tokenize(text)
        }
    }

    private func checked(_ tokens: [TokenID]) throws(ShoalError) -> [TokenID] {
        let count = stageLoads.last??.vocabularyTokenCount ?? 0
        if let bad = tokens.first(where: { !(0..<count).contains(Int($0.rawValue)) }) {
            throw ShoalError(.invalidRequest, "token \(bad) is not in the vocabulary of \(count) tokens")
        }
        return tokens
    }

    /// Of one question to the engine: its answer must fit a frame.
    private static let pieceCountMax = 8192

    private func answered(_ tokens: [TokenID]) async throws(ShoalError) -> [TokenizedRequest.AnsweredToken] {
        guard tokens.count <= order.contextTokenCount else {
            throw ShoalError(
                .contextOverflow,
                "\(tokens.count) tokens were answered already, the context has \(order.contextTokenCount)")
        }
        var answered: [TokenizedRequest.AnsweredToken] = []
        var rest = try checked(tokens)[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(Self.pieceCountMax))
            guard case .pieces(let pieces) = try await ask(.pieces(part)), pieces.count == part.count else {
                throw Self.unexpectedReply
            }
            answered += zip(part, pieces).map { TokenizedRequest.AnsweredToken(token: $0, piece: $1) }
            rest = rest.dropFirst(part.count)
        }
        return answered
    }

    private func tokenize(_ text: String) async throws(ShoalError) -> [TokenID] {
        let reply = try await ask(.tokenize(text: text, addSpecial: true, parseSpecial: true))
        guard case .tokens(let tokens) = reply else { throw Self.unexpectedReply }
        return tokens
    }

    private func grammar(for format: GenerationRequest.ResponseFormat) async throws(ShoalError) -> String? {
        let schema: String
        switch format {
        case .text: return nil
        case .jsonObject: schema = #"{"type":"object"}"#
        case .jsonSchema(let text): schema = text
        }
        guard case .text(let grammar) = try await ask(.grammar(jsonSchema: schema)) else { throw Self.unexpectedReply }
        return grammar
    }

    private func ask(_ request: EngineRequest) async throws(ShoalError) -> EngineReply {
        guard let lastStage else { throw ShoalError(.unavailable, "the instance is not ready") }
        return try await lastStage.request(request, deadline: node.configuration.limits.textDeadline)
    }

    private static let unexpectedReply = ShoalError(
        .protocolViolation, "the engine answered something else than was asked")

    // MARK: Scheduler actions

    /// What moves the pipeline first: readers are told of a token while the next one is computed.
    func perform(_ actions: [HeadSchedulerAction]) {
        for action in actions where !action.isNews { perform(action) }
        for action in actions where action.isNews { perform(action) }
    }

    private func perform(_ action: HeadSchedulerAction) {
        switch action {
        case .send(let batch):
            do throws(ShoalError) {
                try send(batch)
            } catch {
                perform(lifecycle.pipelineBroken(generation: lifecycle.generation, error: error, now: now))
            }
        case .configureSampler(let sequence, let parameters, let history):
            post(.configureSampler(sequence, parameters, history)) { head, error in
                head.perform(head.scheduler?.samplerRefused(sequence, error: error, now: head.now) ?? [])
            }
        case .releaseSampler(let sequence):
            post(.releaseSampler(sequence)) { [logger] _, error in
                logger.warning("a sampler was not released", metadata: ["error": "\(error)"])
            }
        case .draft(let batch): sendToDraft(batch)
        case .draftBroken(let error): draftBroken(error)
        case .emit(let id, let event):
            let sink = event.isTerminal ? sinks.removeValue(forKey: id) : sinks[id]
            sink?(event)
        case .pipelineBroken(let error):
            perform(lifecycle.pipelineBroken(generation: lifecycle.generation, error: error, now: now))
        case .drained: break
        }
    }
}

extension HeadSchedulerAction {
    /// Something for a reader, on which nothing else depends.
    fileprivate var isNews: Bool {
        if case .emit = self { true } else { false }
    }
}
