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
        let instance = try await instance(serving: request.model)
        // The head pauses at `unacknowledgedTokenCountMax` tokens, so nothing is dropped unless a foreign one
        // misbehaves.
        let (events, continuation) = AsyncStream.makeStream(
            of: GenerationEvent.self, bufferingPolicy: .bufferingNewest(RequestStreams.undeliveredEventCountMax))
        guard instance.engine == .stages else {
            throw ShoalError(
                .invalidRequest, "\(instance.model) is computed by llama-server, which takes requests as HTTP only")
        }
        if let head = heads[instance.id] {
            return try await generate(request, on: head, events, continuation)
        }
        return try await generate(request, instance, events, continuation)
    }

    /// The head is here.
    private func generate(
        _ request: GenerationRequest, on head: HeadService, _ events: AsyncStream<GenerationEvent>,
        _ continuation: AsyncStream<GenerationEvent>.Continuation
    ) async throws(ShoalError) -> GenerationStream {
        let id = request.id
        try await head.submit(request) { event in
            continuation.yield(event)
            if event.isTerminal { continuation.finish() }
        }
        // Not before: a request that was refused must not cancel another one of the same id.
        continuation.onTermination = { reason in
            guard case .cancelled = reason else { return }
            head.eventLoop.execute { head.assumeIsolated { $0.cancel(id) } }
        }
        return GenerationStream(events: events) { tokenCount in
            head.eventLoop.execute { head.assumeIsolated { $0.consumed(id, tokenCount: tokenCount) } }
        }
    }

    /// The head is on another node.
    private func generate(
        _ request: GenerationRequest, _ instance: InstanceReport, _ events: AsyncStream<GenerationEvent>,
        _ continuation: AsyncStream<GenerationEvent>.Continuation
    ) async throws(ShoalError) -> GenerationStream {
        guard let link = peers.link(to: instance.head) else {
            throw ShoalError(
                .unavailable,
                "node \(instance.headName), which answers for \(instance.model), is not connected to this node")
        }
        let id = request.id
        guard streams.open(id, over: link, continuation: continuation) else {
            throw ShoalError(.invalidRequest, "request \(id) runs already")
        }
        do throws(ShoalError) {
            _ = try await ask(link, .generate(request, instance.id), deadline: configuration.limits.textDeadline)
        } catch {
            if streams.close(id) { send(.cancel(id, instance.id), over: link) }
            throw error
        }
        continuation.onTermination = { [self] reason in
            guard case .cancelled = reason, streams.close(id) else { return }
            send(.cancel(id, instance.id), over: link)
        }
        return GenerationStream(events: events) { [self] tokenCount in
            send(.consumed(id, instance.id, tokenCount: tokenCount), over: link)
        }
    }

    private func instance(serving model: String) async throws(ShoalError) -> InstanceReport {
        let all = await instances()
        let wanted = ModelLibrary.name(ofFile: model).lowercased()
        let candidates = all.filter { $0.model.lowercased() == wanted || "\($0.id)" == model }
        if let ready = candidates.first(where: \.phase.isServing) { return ready }
        if let other = candidates.first {
            let why = other.problem.map { ": \($0)" } ?? ""
            throw ShoalError(.unavailable, "the model \(other.model) is \(other.phase.rawValue), not ready\(why)")
        }
        let names = Set(all.filter(\.phase.isServing).map(\.model)).sorted()
        let hint =
            names.isEmpty
            ? "no model is loaded; load one with: shoal load PATH" : "loaded are: \(names.joined(separator: ", "))"
        throw ShoalError(.modelNotFound, "the model \"\(model)\" is not loaded; \(hint)")
    }
}
