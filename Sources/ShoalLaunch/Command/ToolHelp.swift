/// Which options an installed program has, read from what it prints for `--help`.
package struct ToolHelp: Hashable, Sendable {
    /// Every option name, with its dashes.
    package let options: Set<String>

    /// Lines that begin with a dash list the names of one option, separated by commas, before two spaces or a value.
    package init(parsing text: String) {
        var found: Set<String> = []
        for line in text.split(whereSeparator: \.isNewline) {
            let trimmed = line.drop { $0 == " " }
            guard trimmed.first == "-", line.count - trimmed.count <= ToolHelp.indentMax else { continue }
            for word in trimmed.split(whereSeparator: { $0 == " " || $0 == "," }) {
                guard word.first == "-" else { break }
                found.insert(String(word))
            }
        }
        options = found
    }

    /// Option lines are not indented further; explanations are.
    private static let indentMax = 4

    /// The first of `names` that the program has.
    package func first(of names: String...) -> String? { names.first(where: options.contains) }
}

/// What a llama.cpp program says it was built from.
package struct ToolVersion: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The short commit; empty when the program does not say.
    package let commit: String
    /// 0 in builds outside of a Git checkout.
    package let buildNumber: Int

    package init(commit: String, buildNumber: Int) {
        self.commit = commit
        self.buildNumber = buildNumber
    }

    /// Reads "version: 0.5.0-dev (build 0, commit 0c1e57098)" or the older "version: 4567 (0c1e57098)". Nil when the
    /// text has no such line.
    package init?(parsing text: String) {
        guard let line = text.split(whereSeparator: \.isNewline).first(where: { $0.hasPrefix("version:") }),
            let open = line.lastIndex(of: "("), let close = line.lastIndex(of: ")"), open < close
        else { return nil }
        let inside = line[line.index(after: open)..<close]
        let words = inside.split(whereSeparator: { $0 == " " || $0 == "," })
        if let commit = words.firstIndex(of: "commit"), commit + 1 < words.count {
            self.commit = String(words[commit + 1])
            let build = words.firstIndex(of: "build").map { $0 + 1 }
            buildNumber = build.flatMap { words.indices.contains($0) ? Int(words[$0]) : nil } ?? 0
        } else if let commit = words.first {
            self.commit = String(commit)
            let number = line.dropFirst("version:".count).split(separator: " ").first
            buildNumber = number.flatMap { Int($0) } ?? 0
        } else {
            return nil
        }
    }

    package var description: String { buildNumber == 0 ? commit : "b\(buildNumber) (\(commit))" }
}
