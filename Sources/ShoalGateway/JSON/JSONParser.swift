/// Where and why a text is not JSON.
struct JSONSyntaxError: Error, Equatable, CustomStringConvertible {
    var problem: String
    /// From one.
    var line: Int
    /// From one, in bytes.
    var column: Int

    var description: String { "\(problem) at line \(line), column \(column)" }
}

/// Reads JSON (RFC 8259), strictly: no comments, no trailing commas, nothing after the value, valid UTF-8 only.
///
/// Foundation's decoder is not used for request bodies because it neither keeps the order of members nor says in a
/// portable way where a document is broken.
struct JSONParser {
    /// Arrays and objects inside each other; deeper documents are refused, so that recursion is bounded.
    static let depthMax = 128

    private let bytes: [UInt8]
    private var offset = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The one value in `bytes`.
    static func parse(_ bytes: [UInt8]) throws(JSONSyntaxError) -> JSONValue {
        var parser = JSONParser(bytes)
        parser.skipWhitespace()
        let value = try parser.value(depth: 0)
        parser.skipWhitespace()
        guard parser.current == nil else { throw parser.failure("unexpected text after the end of the document") }
        return value
    }

    private var current: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func value(depth: Int) throws(JSONSyntaxError) -> JSONValue {
        guard depth < JSONParser.depthMax else { throw failure("more than \(JSONParser.depthMax) nested levels") }
        guard let byte = current else { throw failure("the document ends where a value should be") }
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .boolean(true))
        case UInt8(ascii: "f"): return try word("false", .boolean(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw failure("a value cannot start with \(describe(byte))")
        }
    }

    private mutating func object(depth: Int) throws(JSONSyntaxError) -> JSONValue {
        offset += 1
        var members: [JSONValue.Member] = []
        skipWhitespace()
        if take("}") { return .object(members) }
        while true {
            skipWhitespace()
            guard current == UInt8(ascii: "\"") else { throw failure("a member name in double quotes is missing") }
            let name = try string()
            skipWhitespace()
            guard take(":") else { throw failure("\":\" is missing after the member name") }
            skipWhitespace()
            members.append(JSONValue.Member(name, try value(depth: depth + 1)))
            skipWhitespace()
            if take("}") { return .object(members) }
            guard take(",") else { throw failure("\",\" or \"}\" is missing") }
        }
    }

    private mutating func array(depth: Int) throws(JSONSyntaxError) -> JSONValue {
        offset += 1
        var elements: [JSONValue] = []
        skipWhitespace()
        if take("]") { return .array(elements) }
        while true {
            skipWhitespace()
            elements.append(try value(depth: depth + 1))
            skipWhitespace()
            if take("]") { return .array(elements) }
            guard take(",") else { throw failure("\",\" or \"]\" is missing") }
        }
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(JSONSyntaxError) -> JSONValue {
        guard bytes[offset...].starts(with: word.utf8) else { throw failure("a value is not \"\(word)\"") }
        offset += word.utf8.count
        return value
    }

    private mutating func number() throws(JSONSyntaxError) -> JSONValue {
        let start = offset
        var isWhole = true
        _ = take("-")
        if take("0") {
            if let byte = current, isDigit(byte) { throw failure("a number cannot start with zero") }
        } else {
            try digits()
        }
        if take(".") {
            isWhole = false
            try digits()
        }
        if take("e") || take("E") {
            isWhole = false
            if !take("-") { _ = take("+") }
            try digits()
        }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        if isWhole, let integer = Int(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else { throw failure("the number \(text) is too large") }
        return .number(number)
    }

    private mutating func digits() throws(JSONSyntaxError) {
        guard let first = current, isDigit(first) else { throw failure("a digit is missing") }
        while let byte = current, isDigit(byte) { offset += 1 }
    }

    private mutating func string() throws(JSONSyntaxError) -> String {
        offset += 1
        var result: [UInt8] = []
        let start = offset
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: result, as: UTF8.self) else {
                    offset = start
                    throw failure("a string is not valid UTF-8")
                }
                offset += 1
                return text
            case UInt8(ascii: "\\"):
                offset += 1
                try escape(into: &result)
            case 0..<0x20: throw failure("a control character in a string must be escaped")
            default:
                result.append(byte)
                offset += 1
            }
        }
        throw failure("the document ends inside a string")
    }

    private mutating func escape(into result: inout [UInt8]) throws(JSONSyntaxError) {
        guard let byte = current else { throw failure("the document ends inside a string") }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(byte)
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "f"): result.append(0x0C)
        case UInt8(ascii: "n"): result.append(0x0A)
        case UInt8(ascii: "r"): result.append(0x0D)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "u"): result.append(contentsOf: Array(String(Character(try escapedScalar())).utf8))
        default:
            offset -= 1
            throw failure("\(describe(byte)) cannot be escaped")
        }
    }

    /// Four hexadecimal digits, or two such escapes for a surrogate pair. A lone surrogate becomes U+FFFD.
    private mutating func escapedScalar() throws(JSONSyntaxError) -> Unicode.Scalar {
        let first = try codeUnit()
        if let scalar = Unicode.Scalar(UInt32(first)) { return scalar }
        let afterFirst = offset
        guard first < 0xDC00, take("\\"), take("u") else {
            offset = afterFirst
            return "\u{FFFD}"
        }
        let second = try codeUnit()
        guard (0xDC00...0xDFFF).contains(second) else {
            offset = afterFirst
            return "\u{FFFD}"
        }
        let value = 0x10000 + (UInt32(first) - 0xD800) << 10 + (UInt32(second) - 0xDC00)
        return Unicode.Scalar(value) ?? "\u{FFFD}"
    }

    private mutating func codeUnit() throws(JSONSyntaxError) -> UInt16 {
        let end = offset + 4
        guard end <= bytes.count else { throw failure("an escape needs four hexadecimal digits") }
        let digits = bytes[offset..<end]
        guard digits.allSatisfy(isHexadecimal), let value = UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
        else { throw failure("an escape needs four hexadecimal digits") }
        offset = end
        return value
    }

    private mutating func skipWhitespace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard current == UInt8(ascii: character) else { return false }
        offset += 1
        return true
    }

    private func failure(_ problem: String) -> JSONSyntaxError {
        let before = bytes[..<min(offset, bytes.count)]
        let lineStart = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
        let line = before.count(where: { $0 == 0x0A }) + 1
        return JSONSyntaxError(problem: problem, line: line, column: before.count - lineStart + 1)
    }

    private func describe(_ byte: UInt8) -> String {
        (0x21...0x7E).contains(byte) ? "\"\(Character(Unicode.Scalar(byte)))\"" : "byte \(byte)"
    }
}

private func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

private func isHexadecimal(_ byte: UInt8) -> Bool {
    isDigit(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
}
