#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What a person means by MODEL: the name of a model, or a file.
struct ModelArgument: Sendable {
    /// As it was typed.
    var text: String
    /// What the node is asked for: an absolute path if `text` is a path, else `text` itself.
    var resolved: String

    /// A text is a path if such a file exists, or if it starts as only paths do: `/`, `./`, `../` or `~/`.
    init(_ text: String, currentDirectory: String, home: String?, exists: (String) -> Bool) {
        self.text = text
        var path = text
        if let home, text.hasPrefix("~/") { path = home + text.dropFirst() }
        if !path.hasPrefix("/") { path = "\(currentDirectory)/\(path)" }
        let looksLikePath = ["/", "./", "../", "~/"].contains { text.hasPrefix($0) }
        resolved = looksLikePath || exists(path) ? ModelArgument.normalized(path) : text
    }

    /// In the file system of this machine.
    init(_ text: String) {
        self.init(
            text, currentDirectory: FileManager.default.currentDirectoryPath,
            home: ProcessInfo.processInfo.environment["HOME"], exists: FileManager.default.fileExists(atPath:))
    }

    /// Names under which an instance may serve it already, the most exact first.
    var servedNames: [String] {
        let file = resolved.split(separator: "/").last.map(String.init) ?? resolved
        let stem = file.hasSuffix(".gguf") ? String(file.dropLast(".gguf".count)) : file
        return [text, resolved, file, stem]
    }

    /// Without `.` and `..`, by text alone.
    private static func normalized(_ path: String) -> String {
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }
}
