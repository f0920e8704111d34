import Testing

@testable import ShoalEngine

@Suite("Log tail")
struct LogTailTests {
    private func tail(of chunks: [String]) -> LogTail {
        var tail = LogTail()
        for chunk in chunks { Array(chunk.utf8).withUnsafeBytes { tail.append($0) } }
        return tail
    }

    @Test("lines are split wherever the reads were")
    func split() {
        #expect(tail(of: ["on", "e\ntw", "o\n", "three"]).lines == ["one", "two"])
    }

    @Test("a last line without a line feed counts at the end")
    func unfinished() {
        var tail = tail(of: ["one\ntwo"])
        tail.finish()
        tail.finish()
        #expect(tail.lines == ["one", "two"])
    }

    @Test("number and length of lines are bounded")
    func bounded() {
        let long = String(repeating: "x", count: LogTail.lineByteCountMax + 50)
        let tail = tail(of: (0..<300).map { "\($0)\n" } + [long + "\n"])
        #expect(tail.lines.count == LogTail.lineCountMax)
        #expect(tail.lines.first == "101")
        #expect(tail.lines.last?.utf8.count == LogTail.lineByteCountMax)
    }
}
