/// The rules that a line-by-line look can check. Each takes one file and returns what breaks it.
enum Rules {
    static let lineCharacterCountMax = 120
    static let fileLineCountUsual = 400
    static let fileLineCountMax = 800
    static let functionLineCountMax = 70

    static let pureTargets = [
        "ShoalCore", "ShoalLaunch", "ShoalMembership", "ShoalModel", "ShoalPlanning", "ShoalRPC", "ShoalScheduling",
    ]
    static let bannedFolderNames = ["Utils", "Util", "Common", "Helpers", "Helper", "Misc"]
    static let rootEntries: Set<String> = [
        ".ci", ".editorconfig", ".gitignore", ".swift-format", "Benchmarks", "CONTRIBUTING.md", "Examples", "LICENSE",
        "Makefile", "NOTICE", "Package.swift", "README.md", "Sources", "Tests", "docs", "engine", "scripts",
    ]
    /// Hosts that a link may point to. Package registries and mirrors belong to a machine, not to the repository.
    static let linkHosts: Set<String> = [
        "127.0.0.1", "localhost", "github.com", "www.apache.org", "apache.org", "www.rfc-editor.org", "swift.org",
        "www.swift.org", "docs.swift.org", "huggingface.co", "json-schema.org", "platform.openai.com", "unicode.org",
        "www.unicode.org", "llvm.org", "cmake.org", "en.wikipedia.org", "arxiv.org", "docs.ollama.com", "example.com",
    ]

    /// Applied to sources in Swift; the value says what to do instead.
    static let bannedCode: [(word: String, instead: String)] = [
        ("try!", "handle the error"), ("fatalError(", "use precondition for our bugs, ShoalError for the rest"),
        ("Task.detached", "use a task group"), ("DispatchQueue.main", "nothing here has a main queue"),
        ("Thread.sleep", "never block a thread of the pool"), ("usleep(", "never block a thread of the pool"),
    ]

    static func lineLength(_ file: SourceFile) -> [Violation] {
        let isChecked = [".swift", ".c", ".cpp", ".h", ".hpp"].contains { file.path.hasSuffix($0) }
        guard isChecked else { return [] }
        return file.lines.indices.filter { file.lines[$0].count > lineCharacterCountMax }.map {
            file.violation($0, "\(file.lines[$0].count) characters; at most \(lineCharacterCountMax)")
        }
    }

    static func fileLength(_ file: SourceFile, longFiles: Set<String>) -> [Violation] {
        guard file.isSwift else { return [] }
        let limit = longFiles.contains(file.path) ? fileLineCountMax : fileLineCountUsual
        // The text ends with a newline, which is no line of its own.
        let count = file.lines.last == "" ? file.lines.count - 1 : file.lines.count
        return count > limit ? [file.violation(count - 1, "\(count) lines; at most \(limit)")] : []
    }

    static func functionLength(_ file: SourceFile) -> [Violation] {
        guard file.isSwift else { return [] }
        return file.code.indices.compactMap { start in
            guard beginsFunction(file.code[start]), let end = endOfBody(file.code, from: start) else { return nil }
            let count = end - start + 1
            guard count > functionLineCountMax else { return nil }
            return file.violation(start, "a function of \(count) lines; at most \(functionLineCountMax)")
        }
    }

    static func bannedWords(_ file: SourceFile) -> [Violation] {
        guard file.isSwift, file.isSource else { return [] }
        var banned = bannedCode
        if !file.isIn("shoal") { banned.append(("print(", "log it, or let the command line print it")) }
        return file.code.indices.flatMap { index in
            banned.filter { file.code[index].containsCall($0.word) }.map {
                file.violation(index, "\($0.word): \($0.instead)")
            }
        }
    }

    static func unsafeWithoutReason(_ file: SourceFile) -> [Violation] {
        guard file.isSwift else { return [] }
        return file.code.indices.filter { index in
            let isUnsafe =
                file.code[index].contains("@unchecked Sendable")
                || file.code[index].contains("nonisolated(unsafe)")
            return isUnsafe && !hasComment(file, above: index, within: 1) { $0.contains("// Safety:") }
        }.map { file.violation($0, "say why this is safe: \"// Safety: …\" on the line above") }
    }

    static func taskWithoutOwner(_ file: SourceFile) -> [Violation] {
        guard file.isSwift, file.isSource else { return [] }
        return file.code.indices.filter { index in
            let code = file.code[index]
            let isTask = code.containsCall("Task {") || code.containsCall("Task(") || code.containsCall("Task.init")
            return isTask && !hasComment(file, above: index, within: 3) { $0.contains("//") }
        }.map { file.violation($0, "say who cancels this task, in a comment above") }
    }

    static func openEnds(_ file: SourceFile) -> [Violation] {
        // Written in two parts, so that this file keeps its own rule.
        let words = ["TO" + "DO", "FIX" + "ME"]
        return file.lines.indices.filter { index in
            let line = file.lines[index]
            return words.contains(where: line.contains) && line.firstMatch(of: /\(#[0-9]+\)/) == nil
        }.map { file.violation($0, "an open end needs the number of its issue: (#12)") }
    }

    static func machinePaths(_ file: SourceFile) -> [Violation] {
        let prefixes = ["/ro" + "ot/", "/wo" + "rk/", "/tmp/" + "w/"]
        return file.lines.indices.flatMap { index in
            prefixes.filter { file.lines[index].containsCall($0) }.map {
                file.violation(index, "\($0) exists on one machine only")
            }
        }
    }

    static func foreignHosts(_ file: SourceFile) -> [Violation] {
        file.lines.indices.flatMap { index in
            file.lines[index].matches(of: /https?:\/\/([A-Za-z0-9.-]+\.[A-Za-z0-9]+)/).compactMap { match in
                let host = String(match.output.1)
                return linkHosts.contains(host) ? nil : file.violation(index, "a link to \(host), which is not listed")
            }
        }
    }

    static func imports(_ file: SourceFile) -> [Violation] {
        guard file.isSwift, file.isSource else { return [] }
        let isPure = pureTargets.contains(where: file.isIn)
        return file.code.indices.flatMap { index -> [Violation] in
            guard let module = importedModule(file.code[index]) else { return [] }
            var found: [Violation] = []
            if module == "CLlama", !file.isIn("ShoalLlama") {
                found.append(file.violation(index, "only ShoalLlama imports CLlama"))
            }
            if isPure, !pureTargets.contains(module) {
                found.append(file.violation(index, "a pure target imports \(module)"))
            }
            return found
        }
    }

    // MARK: What the rules share

    private static func hasComment(
        _ file: SourceFile, above index: Int, within count: Int, _ matches: (String) -> Bool
    ) -> Bool {
        file.lines[max(0, index - count)...index].contains(where: matches)
    }

    private static func importedModule(_ code: String) -> String? {
        guard let match = code.firstMatch(of: /^\s*(?:@\w+\s+)*(?:\w+\s+)?import\s+(?:\w+\s+)?(\w+)/) else {
            return nil
        }
        return String(match.output.1)
    }

    private static func beginsFunction(_ code: String) -> Bool {
        code.containsCall("func ") || code.containsCall("init(") && !code.contains(".init(")
            || code.containsCall("init?(") || code.containsCall("deinit ")
    }

    /// The line on which the first brace that opens at or after `start` closes; nil for a requirement without a body.
    private static func endOfBody(_ code: [String], from start: Int) -> Int? {
        var depth = 0
        var parentheses = 0
        for index in start..<code.count {
            if index > start, depth == 0, parentheses == 0, beginsFunction(code[index]) { return nil }
            for character in code[index] {
                switch character {
                case "(": parentheses += 1
                case ")": parentheses -= 1
                case "{" where parentheses == 0: depth += 1
                case "}" where parentheses == 0:
                    depth -= 1
                    if depth <= 0 { return depth == 0 ? index : nil }
                default: break
                }
            }
        }
        return nil
    }
}
