import Testing

@Suite("The repository")
struct TidyTests {
    /// Swift files that may be longer than 400 lines, each with a reason:
    static let longFiles: Set<String> = []

    private let repository = Repository()

    @Test("keeps the rules of each line and file", arguments: ruleNames)
    func filesKeepRule(name: String) throws {
        let rule = try #require(Self.rules[name])
        let files = try repository.textFiles()
        #expect(files.count > 10, "the walk found almost nothing below \(repository.root)")
        let violations = files.flatMap(rule)
        #expect(violations.isEmpty, "\(name):\n\(violations.map(\.description).joined(separator: "\n"))")
    }

    @Test("has only known entries in its root")
    func rootIsKnown() throws {
        let unknown = try repository.rootEntries().filter { !Rules.rootEntries.contains($0) }
        #expect(unknown.isEmpty, "add them to Rules.rootEntries, or better not to the root: \(unknown)")
    }

    @Test("names folders by what is in them")
    func foldersHaveDomainNames() throws {
        let vague = try repository.folders().filter { path in
            Rules.bannedFolderNames.contains { path == $0 || path.hasSuffix("/\($0)") }
        }
        #expect(vague.isEmpty, "\(vague)")
    }

    @Test("lists no long file that is not long")
    func longFilesAreLong() throws {
        let files = try repository.textFiles()
        let short = Self.longFiles.filter { path in
            (files.first { $0.path == path }?.lines.count ?? 0) <= Rules.fileLineCountUsual
        }
        #expect(short.isEmpty, "take them off the list: \(short)")
    }

    static let ruleNames = rules.keys.sorted()

    static let rules: [String: @Sendable (SourceFile) -> [Violation]] = [
        "line length": { Rules.lineLength($0) },
        "file length": { Rules.fileLength($0, longFiles: longFiles) },
        "function length": { Rules.functionLength($0) },
        "banned words": { Rules.bannedWords($0) },
        "unsafe without a reason": { Rules.unsafeWithoutReason($0) },
        "tasks without an owner": { Rules.taskWithoutOwner($0) },
        "open ends": { Rules.openEnds($0) },
        "machine paths": { Rules.machinePaths($0) },
        "foreign hosts": { Rules.foreignHosts($0) },
        "imports": { Rules.imports($0) },
    ]
}
