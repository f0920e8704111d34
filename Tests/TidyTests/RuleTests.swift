import Testing

/// A rule that finds nothing proves nothing: each must find its canary, and leave its neighbour alone.
@Suite("Tidy rules")
struct RuleTests {
    private func file(_ text: String, at path: String = "Sources/ShoalNode/Canary.swift") -> SourceFile {
        SourceFile(path: path, text: text)
    }

    @Test("long lines are found where code is, not in documents")
    func longLines() {
        let text = "let a = 1\n// " + String(repeating: "x", count: 118) + "\n"
        #expect(Rules.lineLength(file(text)).map(\.line) == [2])
        #expect(Rules.lineLength(file(text, at: "docs/a.md")).isEmpty)
        #expect(Rules.lineLength(file("// " + String(repeating: "x", count: 117))).isEmpty)
    }

    @Test("a file over the usual length must be listed, and none may pass the hard one")
    func longFiles() {
        let path = "Sources/ShoalNode/Canary.swift"
        let usual = file(String(repeating: "\n", count: 400))
        let long = file(String(repeating: "\n", count: 401))
        let huge = file(String(repeating: "\n", count: 801))
        #expect(Rules.fileLength(usual, longFiles: []).isEmpty)
        #expect(Rules.fileLength(long, longFiles: []).count == 1)
        #expect(Rules.fileLength(long, longFiles: [path]).isEmpty)
        #expect(Rules.fileLength(huge, longFiles: [path]).count == 1)
    }

    @Test("a function's length is counted from its declaration to its closing brace")
    func longFunctions() {
        func function(_ bodyLineCount: Int) -> String {
            "struct A {\n    func f(\n        x: Int = { 1 }()\n    ) {\n"
                + String(repeating: "        g(\"}\") // }\n", count: bodyLineCount) + "    }\n    func short() {}\n}\n"
        }
        #expect(Rules.functionLength(file(function(66))).isEmpty)
        #expect(Rules.functionLength(file(function(67))).map(\.line) == [2])
        let requirement =
            "protocol P {\n    func f()\n" + String(repeating: "    var a: Int { get }\n", count: 80) + "}\n"
        #expect(Rules.functionLength(file(requirement)).isEmpty)
    }

    @Test("banned words are found in code, not in comments, strings or longer names")
    func bannedWords() {
        for word in Rules.bannedCode.map(\.word) {
            #expect(Rules.bannedWords(file("let a = 1\n    \(word) x\n")).map(\.line) == [2], "\(word)")
        }
        #expect(Rules.bannedWords(file("print(1)")).count == 1)
        #expect(Rules.bannedWords(file("print(1)", at: "Sources/shoal/Run.swift")).isEmpty)
        #expect(Rules.bannedWords(file("fingerprint(1) // print(2)\nlet a = \"print(\" /* print( */\n")).isEmpty)
        #expect(Rules.bannedWords(file("let a = \"\"\"\nprint(\n\"\"\"\nprint(2)\n")).map(\.line) == [4])
        #expect(Rules.bannedWords(file("let a = \"\\\"\"; print(2)\n")).count == 1)
    }

    @Test("unsafe declarations need a reason")
    func unsafeDeclarations() {
        let unsafe = "final class A: @unchecked Sendable {}\n"
        #expect(Rules.unsafeWithoutReason(file(unsafe)).count == 1)
        #expect(Rules.unsafeWithoutReason(file("// Safety: locked.\n" + unsafe)).isEmpty)
        #expect(Rules.unsafeWithoutReason(file("nonisolated(unsafe) var a = 1\n")).count == 1)
        #expect(Rules.unsafeWithoutReason(file("nonisolated(unsafe) var a = 1 // Safety: set once.\n")).isEmpty)
    }

    @Test("unstructured tasks need an owner")
    func tasks() {
        #expect(Rules.taskWithoutOwner(file("let a = Task { await b() }\n")).count == 1)
        #expect(Rules.taskWithoutOwner(file("// Cancelled by stop().\nlet a = Task { await b() }\n")).isEmpty)
        #expect(Rules.taskWithoutOwner(file("let a = Task(priority: .low) { await b() }\n")).count == 1)
        #expect(Rules.taskWithoutOwner(file("let a = withTask { }\nstruct LoadTask {}\n")).isEmpty)
    }

    @Test("open ends need an issue")
    func openEnds() {
        let word = "TO" + "DO"
        #expect(Rules.openEnds(file("// \(word): later\n")).count == 1)
        #expect(Rules.openEnds(file("// \(word)(#12): later\n")).isEmpty)
    }

    @Test("paths and hosts of one machine stay out")
    func machinePaths() {
        #expect(Rules.machinePaths(file("cd /ro" + "ot/x\n")).count == 1)
        #expect(Rules.machinePaths(file("cd lib/ro" + "ot/x and ./frame" + "/wo" + "rk/\n")).isEmpty)
        #expect(Rules.foreignHosts(file("https:/" + "/mirror.internal.net/simple\n")).count == 1)
        #expect(Rules.foreignHosts(file("https://github.com/a/b, http://127.0.0.1:7460/v1 and http://HOST\n")).isEmpty)
    }

    @Test("imports follow the arrows")
    func imports() {
        #expect(Rules.imports(file("import CLlama\n")).count == 1)
        #expect(Rules.imports(file("import CLlama\n", at: "Sources/ShoalLlama/A.swift")).isEmpty)
        let pure = "Sources/ShoalScheduling/A.swift"
        #expect(Rules.imports(file("package import ShoalCore\nimport ShoalModel\n", at: pure)).isEmpty)
        #expect(Rules.imports(file("package import NIOCore\n@preconcurrency import Foundation\n", at: pure)).count == 2)
        #expect(Rules.imports(file("import struct Foundation.Data\n", at: pure)).count == 1)
    }
}
