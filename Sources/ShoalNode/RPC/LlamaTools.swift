import ShoalCore
import ShoalEngine
import ShoalLaunch
import Synchronization

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Where llama.cpp's programs are on this machine.
package struct LlamaToolPaths: Sendable, Hashable {
    package var server: String
    /// A device that can only be a worker has this one alone.
    package var worker: String

    package init(server: String, worker: String) {
        self.server = server
        self.worker = worker
    }
}

/// What the installed programs say of themselves.
struct LlamaToolFacts: Sendable {
    var serverHelp: ToolHelp
    var workerHelp: ToolHelp
    var build: ToolVersion?
    var gpus: [ListedDevice]
}

/// Asks llama.cpp's programs what they can do, once.
actor LlamaTools {
    nonisolated let paths: LlamaToolPaths
    nonisolated let environment: [String: String]
    private var asking: Task<Result<LlamaToolFacts, ShoalError>, Never>?

    /// Lines of `--help` that are read; there are about 750.
    private static let helpLineCountMax = 5000
    /// A program that has to load GPU libraries may take its time.
    private static let deadline = Duration.seconds(30)

    init(paths: LlamaToolPaths) {
        self.paths = paths
        // Without the huge pages of our own engine: these programs clear the whole KV cache while they load, and making
        // room for huge pages takes longer than that on a machine whose memory is in pieces.
        environment = Self.environment(from: EngineEnvironment.allowed(from: ProcessInfo.processInfo.environment))
    }

    /// Throws `engineLost` when a program is missing or does not run; the next call asks again.
    func facts() async throws(ShoalError) -> LlamaToolFacts {
        let task = asking ?? Task { await self.ask() }  // Ends by itself: every program has a deadline.
        asking = task
        let result = await task.value
        if case .failure = result { asking = nil }
        return try result.get()
    }

    /// The workers' side alone: a device may lack llama-server.
    func workerHelp() async throws(ShoalError) -> ToolHelp {
        if let asking, case .success(let facts) = await asking.value { return facts.workerHelp }
        return ToolHelp(parsing: try await Self.output(of: paths.worker, ["--help"], environment))
    }

    private func ask() async -> Result<LlamaToolFacts, ShoalError> {
        do throws(ShoalError) {
            let help = try await Self.output(of: paths.server, ["--help"], environment)
            let version = try await Self.output(of: paths.server, ["--version"], environment)
            let devices = try await Self.output(of: paths.server, ["--list-devices"], environment)
            let worker = try await Self.output(of: paths.worker, ["--help"], environment)
            return .success(
                LlamaToolFacts(
                    serverHelp: ToolHelp(parsing: help), workerHelp: ToolHelp(parsing: worker),
                    build: ToolVersion(parsing: version), gpus: ListedDevice.list(parsing: devices)))
        } catch {
            return .failure(error)
        }
    }

    /// Everything a program prints; it is ended when it takes too long.
    private static func output(
        of path: String, _ arguments: [String], _ environment: [String: String]
    ) async throws(ShoalError) -> String {
        let lines = LineCollector(countMax: helpLineCountMax)
        let process = try await StockProcess.start(
            StockProcess.Program(
                path: path, arguments: arguments, environment: environment, label: "tool", logDirectory: nil),
            onLine: { lines.add($0) })
        // Cancelled below.
        let limit = Task {
            try await Task.sleep(for: deadline)
            await process.kill()
        }
        _ = await process.waitForExit()
        limit.cancel()
        return lines.text
    }

    /// What stock programs may see of this process's environment. Options that come in by environment would change the
    /// command line that is recorded, and a key would lock the node out of its own server.
    static func environment(from inherited: [String: String]) -> [String: String] {
        var environment = inherited.filter { name, _ in
            !name.hasPrefix("LLAMA_ARG_") && name != "LLAMA_API_KEY" && !name.hasPrefix("SHOAL_")
        }
        // A lost worker aborts llama-server; a back trace of that helps nobody and takes seconds.
        environment["GGML_NO_BACKTRACE"] = environment["GGML_NO_BACKTRACE"] ?? "1"
        return environment
    }
}

/// Lines from another thread, bounded.
private final class LineCollector: Sendable {
    private let lines = Mutex<[String]>([])
    private let countMax: Int

    init(countMax: Int) { self.countMax = countMax }

    func add(_ line: String) { lines.withLock { if $0.count < countMax { $0.append(line) } } }

    var text: String { lines.withLock { $0.joined(separator: "\n") } }
}
