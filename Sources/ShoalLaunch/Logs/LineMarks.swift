/// Words to look for in the lines of a log, all at once: programs may write lines by the hundred thousand, and nearly
/// all of them say nothing that matters.
package struct LineMarks: Sendable {
    /// By first byte; in lower case.
    private let marks: [[[UInt8]]]

    /// ASCII; letters of both cases count as the same.
    package init(_ words: [String]) {
        var marks = [[[UInt8]]](repeating: [], count: 256)
        for word in words {
            let bytes = word.utf8.map(LineMarks.lowercased)
            guard let first = bytes.first else { continue }
            marks[Int(first)].append(bytes)
        }
        self.marks = marks
    }

    /// Whether one of the words is in the line.
    package func areIn(_ line: String) -> Bool {
        var line = line
        return line.withUTF8 { bytes in
            for start in bytes.indices {
                for mark in marks[Int(LineMarks.lowercased(bytes[start]))] where begins(mark, bytes, at: start) {
                    return true
                }
            }
            return false
        }
    }

    /// A plain loop: this is asked of almost every byte that a program writes.
    private func begins(_ mark: [UInt8], _ bytes: UnsafeBufferPointer<UInt8>, at start: Int) -> Bool {
        guard mark.count <= bytes.count - start else { return false }
        var index = 1
        while index < mark.count, LineMarks.lowercased(bytes[start + index]) == mark[index] { index += 1 }
        return index == mark.count
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
    }
}
