#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What defaults depend on.
struct MachineFacts: Sendable {
    var hostName: String
    var processorCount: Int
    var currentDirectory: String
    var environment: [String: String]

    /// This machine.
    static var current: MachineFacts {
        MachineFacts(
            hostName: ProcessInfo.processInfo.hostName,
            processorCount: max(1, ProcessInfo.processInfo.activeProcessorCount),
            currentDirectory: FileManager.default.currentDirectoryPath,
            environment: ProcessInfo.processInfo.environment)
    }

    /// `$XDG_DATA_HOME/shoal`, or `~/.local/share/shoal`; on macOS the user's Application Support folder.
    var defaultDataDirectory: String {
        let home = environment["HOME"] ?? currentDirectory
        #if os(macOS)
            return "\(home)/Library/Application Support/shoal"
        #else
            // The XDG specification says that a relative path counts as none.
            if let data = environment["XDG_DATA_HOME"], data.hasPrefix("/") { return "\(data)/shoal" }
            return "\(home)/.local/share/shoal"
        #endif
    }

    /// Nil for empty text. `~/` is the user's home.
    func absolutePath(_ text: String) -> String? {
        guard !text.isEmpty else { return nil }
        if text.hasPrefix("/") { return text }
        if let home = environment["HOME"], text == "~" || text.hasPrefix("~/") { return home + text.dropFirst() }
        return "\(currentDirectory)/\(text)"
    }
}
