/// The last lines of a byte stream, bounded in number and length.
struct LogTail {
    static let lineCountMax = 200
    static let lineByteCountMax = 2000

    private(set) var lines: [String] = []
    private var partial: [UInt8] = []

    /// Splits at line feeds; what a line has too much is dropped. Bytes that are no UTF-8 are replaced. `onLine` gets
    /// each line that ends.
    mutating func append(_ bytes: UnsafeRawBufferPointer, onLine: (String) -> Void = { _ in }) {
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                endLine()
                if let line = lines.last { onLine(line) }
            } else if partial.count < Self.lineByteCountMax {
                partial.append(byte)
            }
        }
    }

    /// At the end of the stream: a last line without a line feed counts too.
    mutating func finish() {
        if !partial.isEmpty { endLine() }
    }

    private mutating func endLine() {
        lines.append(String(decoding: partial, as: UTF8.self))
        partial.removeAll(keepingCapacity: true)
        if lines.count > Self.lineCountMax { lines.removeFirst(lines.count - Self.lineCountMax) }
    }
}
