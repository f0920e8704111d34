import HTTPTypes
import Hummingbird
import ShoalCore

/// Turns answers into an HTTP response, streamed or in one piece, in either of OpenAI's dialects.
struct AnswerResponder: Sendable {
    var inference: any InferenceService
    var cluster: any ClusterService
    var unixSeconds: @Sendable () -> Int
    var makeRequestID: @Sendable () -> ShoalCore.RequestID

    /// `inputs` are prompts; each gets `options.answerCount` answers.
    func respond<Dialect: AnswerDialect>(
        to request: Request, options: GenerationOptions, inputs: [GenerationRequest.Input], dialect: Dialect
    ) async throws -> Response {
        let requests = inputs.flatMap { input in
            (0..<options.answerCount).map { options.request(id: makeRequestID(), input: input, answer: $0) }
        }
        guard let first = requests.first else { throw RequestError(.invalidRequest, "the request has no prompt") }
        let answers = try await Answers.start(requests, with: inference)
        let envelope = AnswerEnvelope(
            dialect: dialect, requestID: first.id, createdUnixSeconds: unixSeconds(), model: options.model,
            includesUsage: options.includesUsage)
        let totals = UsageTotals(answerCountPerPrompt: options.answerCount)
        let headers = await headersThatSayWhere(model: options.model)
        return options.streams
            ? stream(answers, of: request, envelope, totals, headers)
            : try await collect(answers, count: requests.count, of: request, envelope, totals, headers)
    }

    private func collect<Dialect>(
        _ answers: Answers, count: Int, of request: Request, _ envelope: AnswerEnvelope<Dialect>, _ totals: UsageTotals,
        _ headers: HTTPFields
    ) async throws -> Response {
        var totals = totals
        var collected = Array(repeating: CollectedAnswer(), count: count)
        do {
            try await answers.forEachEvent(of: request) { index, event in
                switch event {
                case .started: break
                case .text(let text, _): collected[index].text += text
                case .finished(let reason, let usage):
                    collected[index].finishReason = reason
                    collected[index].usage = usage
                    totals.add(usage, answer: index)
                case .failed(let error), .lost(let error): throw error
                }
            }
        } catch {
            throw SpentConnectionError(cause: error)
        }
        return .json(envelope.whole(collected, totals), headers: headers)
    }

    private func stream<Dialect>(
        _ answers: Answers, of request: Request, _ envelope: AnswerEnvelope<Dialect>, _ totals: UsageTotals,
        _ headers: HTTPFields
    ) -> Response {
        var headers = headers
        for field in HTTPFields.eventStream { headers.append(field) }
        let body = ResponseBody { writer in
            var events = EventStreamWriter(writer)
            do {
                var totals = totals
                try await answers.forEachEvent(of: request) { index, event in
                    switch event {
                    case .started:
                        if let opening = envelope.opening(answer: index) { try await events.send(opening) }
                    case .text(let text, _):
                        if !text.isEmpty { try await events.send(envelope.delta(answer: index, text: text)) }
                    case .finished(let reason, let usage):
                        totals.add(usage, answer: index)
                        try await events.send(envelope.end(answer: index, reason, usage))
                    case .failed(let error), .lost(let error): throw error
                    }
                }
                if envelope.includesUsage { try await events.send(envelope.usageChunk(totals)) }
                try await events.sendDone()
            } catch let error as ShoalError where error.code != .cancelled {
                // The status line is long gone: an error event is all that is left to say it with.
                try await events.send(ErrorTable.json(RequestError(error)))
            }
            inference.answered(envelope.requestID, http: events.times)
            try await events.finish()
        }
        return Response(status: .ok, headers: headers, body: body)
    }

    /// Headers of every response that carries answers. Watching for the client's going consumes the connection, so it
    /// closes afterwards; see `Answers.forEachEvent`.
    private func headersThatSayWhere(model: String) async -> HTTPFields {
        var headers: HTTPFields = [.connection: "close"]
        guard let served = await inference.servedModels().first(where: { $0.name == model }) else { return headers }
        headers[.shoalInstance] = served.instance.description
        let instance = await cluster.instances().first { $0.id == served.instance }
        if let name = instance?.headName, HTTPField.isValidValue(name) { headers[.shoalHead] = name }
        return headers
    }
}
