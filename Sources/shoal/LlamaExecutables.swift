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
        guard let root = cache(environment).map({ "\($0)/engine" }),
            let names = try? FileManager.default.contentsOfDirectory(atPath: root)
        else { return [] }
        let finished = names.compactMap { name -> (folder: String, date: Date)? in
            let mark = "\(root)/\(name)/complete"
            guard let attributes = try? FileManager.default.attributesOfItem(atPath: mark) else { return nil }
            return ("\(root)/\(name)/bin", attributes[.modificationDate] as? Date ?? .distantPast)
        }
        return finished.sorted { $0.date > $1.date }.map(\.folder)
    }

    /// As scripts/paths.sh has it; empty variables count as absent.
    static func cache(_ environment: [String: String]) -> String? {
        func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        if let cache = variable("SHOAL_CACHE") { return cache }
        #if os(macOS)
            return variable("HOME").map { "\($0)/Library/Caches/shoal" }
        #else
            return (variable("XDG_CACHE_HOME") ?? variable("HOME").map { "\($0)/.cache" }).map { "\($0)/shoal" }
        #endif
    }

    private static func path(_ environment: [String: String]) -> [String] {
        (environment["PATH"] ?? "").split(separator: ":").map(String.init)
    }
}
