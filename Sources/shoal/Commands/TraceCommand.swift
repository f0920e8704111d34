import ArgumentParser
import ShoalCore

/// `shoal trace`.
struct TraceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "Show where the time of an answer's tokens went.",
        discussion: "Without REQUEST it shows the latest answer. Heads remember their latest 64 requests.")

    @OptionGroup var client: ClientOptions

    @Argument(help: "The id of an answer, such as chatcmpl-00000000000000ff.")
    var request: String?

    @Flag(name: .long, help: "List the requests that are remembered.")
    var list = false

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { node in
            if let request {
                let trace: TraceReport = try await node.get("/shoal/v1/traces/\(percentEncoded(request))")
                return try show([trace], whole: trace)
            }
            let traces: [TraceReport] = try await node.get("/shoal/v1/traces")
            guard let latest = traces.first else {
                throw ShoalError(.notFound, "no request was answered yet")
            }
            try list ? show(traces, whole: nil) : show([latest], whole: latest)
        }
    }

    private func show(_ traces: [TraceReport], whole: TraceReport?) throws {
        guard !json else { return try whole.map(Terminal.writeJSON) ?? Terminal.writeJSON(traces) }
        if let whole { return whole.lines.forEach(Terminal.writeLine) }
        TextTable.traces(traces).lines.forEach(Terminal.writeLine)
    }
}
