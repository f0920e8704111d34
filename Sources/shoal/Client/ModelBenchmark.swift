import ShoalCore

/// Measures one placement of a model after the other, through the API that clients use.
struct ModelBenchmark {
    /// What is asked of each placement.
    struct Workload: Sendable {
        var promptTokenCount = 512
        var outputTokenCount = 48
        var streamCount = 4
    }

    /// What a placement did, beside what was predicted of it.
    struct Result: Encodable, Sendable {
        var placement: String
        var stageCount: Int
        var predicted: PlanPrediction?
        var loadSeconds: Double
        var promptTokenCount: Int
        var timeToFirstTokenSeconds: Double
        var millisecondsPerToken: Double
        /// Of `millisecondsPerToken`, as the trace says.
        var computeMilliseconds: Double?
        var streamCount: Int
        /// All streams together.
        var tokensPerSecond: Double
    }

    private struct Body: Encodable {
        var model: String
        var prompt: String
        var max_tokens: Int
        var stream = true
        var temperature = 0.0
        /// What is measured is the pipeline, not how predictable the text is.
        var speculate = "off"
    }

    private struct Event: Decodable {
        struct Choice: Decodable { var text: String? }

        var id: String?
        var choices: [Choice]?
        var timings: ChatEvent.Timings?
        var error: ErrorBody.Detail?
    }

    private struct Answer {
        var id: String?
        var firstAt: ContinuousClock.Instant
        var lastAt: ContinuousClock.Instant
        var promptTokenCount: Int
        var tokenCount: Int
    }

    var client: NodeClient
    var workload: Workload
    private let clock = ContinuousClock()

    init(client: NodeClient, workload: Workload) {
        self.client = client
        self.workload = workload
    }

    /// Loads, asks, and stops again, whatever happens in between.
    func measure(
        _ request: LoadRequest, stages: [PlanReport.Stage], predicted: PlanPrediction?
    ) async throws -> Result {
        let start = clock.now
        let instance = try await Loader(client: client, show: { _ in }, isInteractive: false).load(request)
        let loaded = clock.now
        do {
            let result = try await measure(instance, stages, predicted, loadSeconds: (loaded - start) / .seconds(1))
            let _: InstanceReport = try await client.delete("/shoal/v1/instances/\(instance.id)")
            return result
        } catch {
            // The first error is the one to tell.
            let _: InstanceReport? = try? await client.delete("/shoal/v1/instances/\(instance.id)")
            throw error
        }
    }

    private func measure(
        _ instance: InstanceReport, _ stages: [PlanReport.Stage], _ predicted: PlanPrediction?, loadSeconds: Double
    ) async throws -> Result {
        _ = try await answer(instance.model, prompt(4, seed: 0), tokenCount: 4)
        let start = clock.now
        let one = try await answer(
            instance.model, prompt(workload.promptTokenCount, seed: 1), tokenCount: workload.outputTokenCount)
        let trace = try await trace(one.id)
        let rate = try await tokensPerSecond(instance.model)
        return Result(
            placement: stages.map { "\($0.nodeName)=\($0.layers)" }.joined(separator: ","), stageCount: stages.count,
            predicted: predicted, loadSeconds: loadSeconds, promptTokenCount: one.promptTokenCount,
            timeToFirstTokenSeconds: (one.firstAt - start) / .seconds(1),
            millisecondsPerToken: (one.lastAt - one.firstAt) / .milliseconds(1) / Double(max(1, one.tokenCount - 1)),
            computeMilliseconds: trace.flatMap { $0.decode.perToken($0.decode.compute) }.map { $0 / 1000 },
            streamCount: workload.streamCount, tokensPerSecond: rate)
    }

    private func trace(_ id: String?) async throws -> TraceReport? {
        guard let id else { return nil }
        return try await client.get("/shoal/v1/traces/\(percentEncoded(id))")
    }

    /// From the first token of any answer to the last of all.
    private func tokensPerSecond(_ model: String) async throws -> Double {
        let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
            for stream in 0..<workload.streamCount {
                group.addTask {
                    try await answer(model, prompt(16, seed: stream + 2), tokenCount: workload.outputTokenCount)
                }
            }
            return try await group.reduce(into: [Answer]()) { $0.append($1) }
        }
        guard let begin = answers.map(\.firstAt).min(), let end = answers.map(\.lastAt).max(), begin < end else {
            throw ShoalError(.unavailable, "the model ended its answers at once; another model, or a longer prompt")
        }
        return Double(answers.reduce(0) { $0 + $1.tokenCount } - 1) / ((end - begin) / .seconds(1))
    }

    private func answer(_ model: String, _ prompt: String, tokenCount: Int) async throws -> Answer {
        var first: ContinuousClock.Instant?
        var answer = Answer(firstAt: clock.now, lastAt: clock.now, promptTokenCount: 0, tokenCount: 0)
        try await client.stream(
            "/v1/completions", Body(model: model, prompt: prompt, max_tokens: tokenCount)
        ) { (event: Event) in
            if let error = event.error { throw ErrorBody(error: error).shoalError }
            answer.id = event.id ?? answer.id
            if event.choices?.contains(where: { $0.text?.isEmpty == false }) == true {
                answer.lastAt = clock.now
                first = first ?? answer.lastAt
            }
            if let timings = event.timings {
                answer.promptTokenCount = timings.promptCount
                answer.tokenCount = timings.outputCount
            }
        }
        answer.firstAt = first ?? answer.lastAt
        return answer
    }

    /// About `count` tokens of text that begins differently for every seed, so that no prefix is reused.
    private func prompt(_ count: Int, seed: Int) -> String {
        let words = [
            "harbour", "winter", "letter", "island", "captain", "museum", "window", "garden", "river", "morning",
            "blue", "narrow", "quiet", "old", "painted", "wooden", "remembers", "carries", "follows", "below",
        ]
        var state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 | 1
        return (0..<max(1, count)).map { _ in
            // xorshift64; the text must be the same on every run.
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return words[Int(state % UInt64(words.count))]
        }.joined(separator: " ")
    }
}
