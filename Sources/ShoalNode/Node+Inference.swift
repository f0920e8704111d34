import NIOCore
package import ShoalCore

/// Requests of this node's clients, wherever the head is.
extension Node: InferenceService {
    package func servedModels() async -> [ServedModel] {
        await instances().filter(\.phase.isServing).map {
            ServedModel(
                name: $0.model, instance: $0.id, createdUnixSeconds: $0.createdUnixSeconds,
                contextTokenCount: $0.contextTokenCount)
        }.sorted { $0.name < $1.name }
    }

    package func generate(_ request: GenerationRequest) async throws(ShoalError) -> GenerationStream {
        // The head pauses at `unacknowledgedTokenCountMax` tokens, so nothing is dropped unless a foreign one
        // misbehaves.
        let (events, reader) = AsyncStream.makeStream(
            of: GenerationEvent.self, bufferingPolicy: .bufferingNewest(RequestStreams.undeliveredEventCountMax))
        let instance = try await instance(serving: request.model)
        let answer = ContinuedAnswer(request, by: instance.model, reader: reader) { [lostAnswers] answer, error in
            lostAnswers.add(answer, error)
        }
        try await submit(answer, to: instance)
        // Not before: a request that was refused must not cancel another one of the same id.
        reader.onTermination = { reason in
            if case .cancelled = reason { answer.cancel() }
        }
        return GenerationStream(events: events) { answer.consumed($0) }
    }

    /// Asks the head of `instance`, wherever it is, to begin or to go on with an answer. Returns when it runs there,
    /// or its reader has left.
    func submit(_ answer: ContinuedAnswer, to instance: InstanceReport) async throws(ShoalError) {
        guard instance.engine == .stages else {
            throw ShoalError(
                .invalidRequest, "\(instance.model) is computed by llama-server, which takes requests as HTTP only")
        }
        do throws(ShoalError) {
            if let head = heads[instance.id] {
                try await submit(answer, to: head)
            } else {
                try await submit(answer, toHeadOf: instance)
            }
            try answer.wasTaken()
        } catch {
            answer.wasRefused()
            throw error
        }
    }

    /// The head is here.
    private func submit(_ answer: ContinuedAnswer, to head: HeadService) async throws(ShoalError) {
        let id = answer.id
        let place = ContinuedAnswer.Place(
            consumed: { tokenCount in
                head.eventLoop.execute { head.assumeIsolated { $0.consumed(id, tokenCount: tokenCount) } }
            },
            cancel: { head.eventLoop.execute { head.assumeIsolated { $0.cancel(id) } } })
        guard answer.asks(place) else { return }
        try await head.submit(answer.request) { answer.take($0) }
    }

    /// The head is on another node.
    private func submit(_ answer: ContinuedAnswer, toHeadOf instance: InstanceReport) async throws(ShoalError) {
        guard let link = peers.link(to: instance.head) else {
            throw ShoalError(
                .unavailable,
                "node \(instance.headName), which answers for \(instance.model), is not connected to this node")
        }
        let id = answer.id
        guard streams.open(answer, over: link) else {
            throw ShoalError(.invalidRequest, "request \(id) runs already")
        }
        let place = ContinuedAnswer.Place(
            consumed: { [self] tokenCount in
                send(.consumed(id, instance.id, tokenCount: tokenCount), over: link)
            },
            cancel: { [self] in
                guard streams.close(id) else { return }
                send(.cancel(id, instance.id), over: link)
            })
        guard answer.asks(place) else {
            streams.close(id)
            return
        }
        do throws(ShoalError) {
            _ = try await ask(link, .generate(answer.request, instance.id), deadline: configuration.limits.textDeadline)
        } catch {
            if streams.close(id) { send(.cancel(id, instance.id), over: link) }
            throw error
        }
    }

    private func instance(serving model: String) async throws(ShoalError) -> InstanceReport {
        let candidates = await instances(of: model)
        if let ready = candidates.first(where: \.phase.isServing) { return ready }
        if let other = candidates.first {
            let why = other.problem.map { ": \($0)" } ?? ""
            throw ShoalError(.unavailable, "the model \(other.model) is \(other.phase.rawValue), not ready\(why)")
        }
        let names = Set(await instances().filter(\.phase.isServing).map(\.model)).sorted()
        let hint =
            names.isEmpty
            ? "no model is loaded; load one with: shoal load PATH" : "loaded are: \(names.joined(separator: ", "))"
        throw ShoalError(.modelNotFound, "the model \"\(model)\" is not loaded; \(hint)")
    }
}
