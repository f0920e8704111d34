import Foundation

/// One text file of the repository.
struct SourceFile {
    /// From the root, with slashes.
    let path: String
    let lines: [String]
    /// The lines without comments and without what is inside string literals.
    let code: [String]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        code = SwiftCode.lines(of: lines)
    }

    var isSwift: Bool { path.hasSuffix(".swift") }
    var isSource: Bool { path.hasPrefix("Sources/") }

    func isIn(_ target: String) -> Bool { path.hasPrefix("Sources/\(target)/") }

    func violation(_ index: Int, _ what: String) -> Violation { Violation(path: path, line: index + 1, what: what) }
}

/// One line that breaks a rule of the house.
struct Violation: CustomStringConvertible, Hashable {
    let path: String
    let line: Int
    let what: String

    var description: String { "\(path):\(line): \(what)" }
}

/// Swift with its comments and string literals blanked. Good enough for the rules here; not a parser.
enum SwiftCode {
    private enum Mode {
        case code, string, multilineString, blockComment
    }

    static func lines(of lines: [String]) -> [String] {
        var mode = Mode.code
        return lines.map { line in
            // An ordinary literal ends with its line.
            if mode == .string { mode = .code }
            return blanked(line, &mode)
        }
    }

    private static func blanked(_ line: String, _ mode: inout Mode) -> String {
        var result = ""
        var rest = Substring(line)
        while let character = rest.first {
            var width = 1
            switch mode {
            case .code:
                if rest.hasPrefix("//") { return result }
                (mode, width) = opening(rest)
                if mode == .code { result.append(character) }
            case .string:
                if character == "\\" { width = 2 } else if character == "\"" { mode = .code }
            case .multilineString:
                if rest.hasPrefix("\"\"\"") { (mode, width) = (.code, 3) }
            case .blockComment:
                if rest.hasPrefix("*/") { (mode, width) = (.code, 2) }
            }
            rest = rest.dropFirst(width)
        }
        return result
    }

    private static func opening(_ rest: Substring) -> (Mode, Int) {
        if rest.hasPrefix("/*") { return (.blockComment, 2) }
        if rest.hasPrefix("\"\"\"") { return (.multilineString, 3) }
        return rest.hasPrefix("\"") ? (.string, 1) : (.code, 1)
    }
}

extension String {
    /// Whether `word` occurs, not as the end of a longer identifier.
    func containsCall(_ word: String) -> Bool {
        var rest = self[...]
        while let range = rest.range(of: word) {
            let before = rest[..<range.lowerBound].last
            if before.map({ !$0.isLetter && !$0.isNumber && $0 != "_" }) ?? true { return true }
            rest = rest[range.upperBound...]
        }
        return false
    }
}
