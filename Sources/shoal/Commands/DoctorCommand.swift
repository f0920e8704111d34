import ArgumentParser
import ShoalCore

/// `shoal doctor`.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Say what is wrong with the cluster and what to do about it.",
        discussion: "Ends with code 1 when a check fails; warnings do not count.")

    @OptionGroup var client: ClientOptions

    @Option(name: .long, help: "Load this model, ask it something, and say for each step whether it passed.")
    var model: String?

    @Option(name: .long, help: "With --model: stages or rpc.")
    var engine: String?

    @Option(name: .long, help: "With --model: layers by node, for example a=0-14,b=15-29.")
    var layers: String?

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func validate() throws {
        guard model == nil else { return }
        if engine != nil { throw ValidationError("--engine needs --model: it says what loads the model") }
        if layers != nil { throw ValidationError("--layers needs --model: it says where the model goes") }
    }

    func run() async throws {
        try await client.withClient { node in
            if let model { return try await test(model, node) }
            let report: DoctorReport = try await node.get("/shoal/v1/doctor")
            if json { try Terminal.writeJSON(report) } else { doctorLines(report).forEach(Terminal.writeLine) }
            guard !report.hasFailure else { throw ExitCode.failure }
        }
    }

    private func test(_ model: String, _ node: NodeClient) async throws {
        var request = LoadRequest(
            model: ModelArgument(model).resolved, layers: try layers.map(LoadRequest.assignments(parsing:)) ?? [])
        if let engine {
            guard let kind = EngineKind(rawValue: engine) else {
                throw ShoalError(.invalidRequest, "--engine is \"\(engine)\"; it must be stages or rpc")
            }
            request.engine = kind
        }
        let test = SelfTest(client: node, request: request) { if !json { Terminal.writeLine($0.line) } }
        let steps = await test.run()
        if json { try Terminal.writeJSON(steps) }
        guard steps.allSatisfy(\.passed) else { throw ExitCode.failure }
    }
}
