package import ShoalCore

/// Where the time of requests went, whichever node computed them.
extension Node {
    package nonisolated func answered(_ request: RequestID, http: TraceReport.HTTP) {
        answerTimes.note(http, of: request)
    }

    package func traces(of request: RequestID?) async throws(ShoalError) -> [TraceReport] {
        var found = await ownTraces(of: request)
        let others = Set(await instances().map(\.head)).subtracting([id])
        for head in others.sorted() {
            // A head that cannot be asked has no trace to show; what it computes is reported elsewhere.
            let reply = try? await ask(head, .traces(request), deadline: configuration.limits.requestDeadline)
            if case .traces(let theirs)? = reply { found += theirs }
        }
        for index in found.indices { found[index].http = answerTimes[found[index].request] ?? found[index].http }
        if let request, found.isEmpty {
            throw ShoalError(
                .notFound, "there is no trace of request \(request); heads remember their latest requests only")
        }
        return found.sorted { $0.startedUnixSeconds > $1.startedUnixSeconds }
    }

    func ownTraces(of request: RequestID?) async -> [TraceReport] {
        var found: [TraceReport] = []
        for head in heads.all { found += await (head as? HeadService)?.traces(of: request) ?? [] }
        return found
    }
}
