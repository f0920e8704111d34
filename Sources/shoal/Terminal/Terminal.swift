import NIOPosix
import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#else
    #error("no C library for the terminal")
#endif

/// Standard input and output of this process.
enum Terminal {
    /// Whether a person may be typing.
    static var inputIsInteractive: Bool { isatty(STDIN_FILENO) == 1 }
    /// Whether a person may be watching.
    static var outputIsInteractive: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Writes to standard output at once, without a line break of its own.
    static func write(_ text: String) { write(text, to: STDOUT_FILENO) }

    static func writeLine(_ line: String) { write(line + "\n") }

    /// Writes to standard error at once, without a line break of its own.
    static func writeNote(_ text: String) { write(text, to: STDERR_FILENO) }

    /// Writes one line to standard error.
    static func note(_ line: String) { writeNote(line + "\n") }

    /// The next line of standard input; nil at its end. Waits on a thread of its own pool, not on a task's.
    static func readLine() async throws -> String? {
        try await NIOThreadPool.singleton.runIfActive { Swift.readLine(strippingNewline: true) }
    }

    /// Everything that is left on standard input. Throws `.invalidRequest` over the size of a request.
    static func readAll() async throws -> String {
        var text = ""
        while let line = try await readLine() {
            text += text.isEmpty ? line : "\n\(line)"
            guard text.utf8.count <= Limits.requestBodyByteCountMax else {
                throw ShoalError(
                    .invalidRequest, "standard input has more than \(Limits.requestBodyByteCountMax) bytes")
            }
        }
        return text
    }

    /// Prints a report as JSON that a person can read and a program can parse.
    static func writeJSON(_ report: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        writeLine(String(decoding: try encoder.encode(report), as: UTF8.self))
    }

    private static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            #if canImport(Darwin)
                let count = rest.withUnsafeBytes { Darwin.write(descriptor, $0.baseAddress, $0.count) }
            #elseif canImport(Musl)
                let count = rest.withUnsafeBytes { Musl.write(descriptor, $0.baseAddress, $0.count) }
            #elseif canImport(Android)
                let count = rest.withUnsafeBytes { Android.write(descriptor, $0.baseAddress, $0.count) }
            #else
                let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            #endif
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            // A closed pipe: whoever read this does not want more.
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
}
