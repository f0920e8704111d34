import ShoalNode

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Where llama.cpp's own programs are: in the folder that was named, beside this program, in the prefix that
/// `make engine` built, or in `PATH`.
enum LlamaExecutables {
    static let serverName = "llama-server"
    /// What it was called before.
    static let workerNames = ["ggml-rpc-server", "rpc-server"]

    /// Nil when neither is found. A named folder is believed, so that what is missing there is told when it is needed.
    static func find(
        _ named: String?, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> LlamaToolPaths? {
        if let named {
            return tools(in: named)
                ?? LlamaToolPaths(server: "\(named)/\(serverName)", worker: "\(named)/\(workerNames[0])")
        }
        let folders = [EngineExecutable.ownFolder] + prefixes(environment) + path(environment)
        return folders.lazy.compactMap(tools).first
    }

    private static func tools(in folder: String) -> LlamaToolPaths? {
        let files = FileManager.default
        let server = "\(folder)/\(serverName)"
        let worker = workerNames.map { "\(folder)/\($0)" }.first(where: files.isExecutableFile)
        guard let worker else { return nil }
        return LlamaToolPaths(server: server, worker: worker)
    }

    /// Finished prefixes of engine/build.sh, the newest first.
    private static func prefixes(_ environment: [String: String]) -> [String] {
        let cache =
            environment["SHOAL_CACHE"] ?? environment["XDG_CACHE_HOME"].map { "\($0)/shoal" }
            ?? environment["HOME"].map { "\($0)/.cache/shoal" }
        guard let root = cache.map({ "\($0)/engine" }),
            let names = try? FileManager.default.contentsOfDirectory(atPath: root)
        else { return [] }
        let finished = names.compactMap { name -> (folder: String, date: Date)? in
            let mark = "\(root)/\(name)/complete"
            guard let attributes = try? FileManager.default.attributesOfItem(atPath: mark) else { return nil }
            return ("\(root)/\(name)/bin", attributes[.modificationDate] as? Date ?? .distantPast)
        }
        return finished.sorted { $0.date > $1.date }.map(\.folder)
    }

    private static func path(_ environment: [String: String]) -> [String] {
        (environment["PATH"] ?? "").split(separator: ":").map(String.init)
    }
}
