import ShoalCore

/// The self-test of `shoal doctor --model`: the way from finding devices to a complete answer, one line per step.
struct SelfTest {
    /// One line of its report.
    struct Step: Equatable, Sendable, Encodable {
        var name: String
        var passed: Bool
        var detail: String

        var line: String { "\(passed ? "pass" : "FAIL")  \(name): \(detail)" }
    }

    var client: NodeClient
    var request: LoadRequest
    /// Gets each step as soon as it is known.
    var show: (Step) -> Void

    private static let question = "What is 2+2?"
    private static let answerTokenCountMax = 64

    /// Stops at the first step that fails; an instance that it started is stopped again, and one that cannot be is a
    /// step that failed.
    func run() async -> [Step] {
        var steps: [Step] = []
        func take<Value>(_ name: String, _ body: () async throws -> (Value, String)) async -> Value? {
            do {
                let (value, detail) = try await body()
                steps.append(Step(name: name, passed: true, detail: detail))
                show(steps[steps.count - 1])
                return value
            } catch {
                let problem = (error as? ShoalError)?.message ?? "\(error)"
                steps.append(Step(name: name, passed: false, detail: problem))
                show(steps[steps.count - 1])
                return nil
            }
        }
        guard await take("discovery", { ((), try await discovery()) }) != nil else { return steps }
        guard let known = await take("file", { (Set(try await instances().map(\.id)), try await file()) }) else {
            return steps
        }
        if let instance = await take("launch", { try await launch() }),
            await take("load across every device", { ((), try SelfTest.devices(instance)) }) != nil,
            let answer = await take("prompt", { try await ask(instance) })
        {
            _ = await take("complete answer") { ((), try answer.checked()) }
        }
        if let problem = await stop(except: known) {
            _ = await take("clean up") { () -> ((), String) in throw problem }
        }
        return steps
    }

    private func launch() async throws -> (InstanceReport, String) {
        let loaded = try await Loader(client: client, show: { _ in }, isInteractive: false).load(request)
        let places = "\(loaded.model) on \(loaded.engine.rawValue), head \(loaded.headName)"
        return (loaded, "\(places), \(SelfTest.times(loaded))")
    }

    private func discovery() async throws(ShoalError) -> String {
        let nodes: [NodeReport] = try await client.get("/shoal/v1/nodes")
        let missing = nodes.filter { $0.reachability == .unreachable }
        guard missing.isEmpty else {
            let names = missing.map { "\($0.name) at \($0.linkAddress) (\($0.problem ?? "no reason"))" }
            throw ShoalError(
                .linkLost,
                "\(nodes.count - missing.count) of \(nodes.count) nodes; missing: \(names.joined(separator: ", "))")
        }
        return "\(nodes.count) of \(nodes.count) nodes: \(nodes.map(\.name).joined(separator: ", "))"
    }

    private func file() async throws(ShoalError) -> String {
        let plan: PlanReport = try await client.post("/shoal/v1/plan", request)
        let places = plan.stages.map { "\($0.nodeName) \($0.layers)" }.joined(separator: ", ")
        return "\(plan.model), \(plan.family), \(plan.layerCount) layers, \(plan.engine.rawValue) engine: \(places)"
    }

    /// Of the model that is tested, also such as failed or wait.
    private func instances() async throws(ShoalError) -> [InstanceReport] {
        let plan: PlanReport = try await client.post("/shoal/v1/plan", request)
        let all: [InstanceReport] = try await client.get("/shoal/v1/instances")
        return all.filter { $0.model == plan.model }
    }

    /// Nothing of the test stays behind, whatever became of it. Returns what prevented that.
    private func stop(except known: Set<InstanceID>) async -> ShoalError? {
        do throws(ShoalError) {
            for instance in try await instances() where !known.contains(instance.id) {
                let _: InstanceReport = try await client.delete("/shoal/v1/instances/\(instance.id)")
            }
            return nil
        } catch {
            return error
        }
    }

    private func ask(_ instance: InstanceReport) async throws(ShoalError) -> (Answer, String) {
        let answer: Answer = try await client.post(
            "/v1/chat/completions",
            Question(
                model: instance.model, messages: [.init(role: "user", content: SelfTest.question)], temperature: 0,
                max_tokens: SelfTest.answerTokenCountMax))
        return (answer, "\(answer.usage.prompt_tokens) tokens in")
    }

    /// Every device must hold part of the model: a plan that nobody carried out is none.
    static func devices(_ instance: InstanceReport) throws(ShoalError) -> String {
        let empty = instance.stages.filter {
            $0.weightBytes == .zero || ($0.worker != nil && ($0.worker?.modelBufferBytes ?? .zero) == .zero)
        }
        guard empty.isEmpty, !instance.stages.isEmpty else {
            throw ShoalError(
                .engineLost, "not distributed: nothing is on \(empty.map(\.nodeName).joined(separator: ", "))")
        }
        let total = instance.stages.reduce(0) { $0 + $1.weightBytes.rawValue }
        return instance.stages.map { stage in
            let share = 100 * Double(stage.weightBytes.rawValue) / Double(max(1, total))
            return "\(stage.nodeName) \(stage.weightBytes) (\(oneDecimal(share)) %)"
        }.joined(separator: ", ")
    }

    private static func times(_ instance: InstanceReport) -> String {
        instance.phases.compactMap { phase in
            phase.endSeconds.map { "\(phase.phase.rawValue) \(oneDecimal($0 - phase.startSeconds)) s" }
        }.joined(separator: ", ")
    }

    private struct Question: Encodable {
        struct Message: Encodable {
            var role: String
            var content: String
        }

        var model: String
        var messages: [Message]
        var temperature: Double
        var max_tokens: Int
    }

    private struct Answer: Decodable {
        struct Choice: Decodable {
            struct Message: Decodable {
                var content: String?
            }

            var message: Message
            var finish_reason: String?
        }

        struct Usage: Decodable {
            var prompt_tokens: Int
            var completion_tokens: Int
        }

        var choices: [Choice]
        var usage: Usage

        /// Only an answer with an end counts.
        func checked() throws(ShoalError) -> String {
            guard let choice = choices.first, let reason = choice.finish_reason, usage.completion_tokens > 0 else {
                throw ShoalError(.protocolViolation, "the answer has no tokens or no finish_reason")
            }
            let text = (choice.message.content ?? "").prefix(60).replacing("\n", with: " ")
            return "\(usage.completion_tokens) tokens, finish_reason \(reason): \"\(text)\""
        }
    }
}
