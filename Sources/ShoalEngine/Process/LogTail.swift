/// The last lines of a byte stream, bounded in number and length.
struct LogTail {
    static let lineCountMax = 200
    static let lineByteCountMax = 2000

    private(set) var lines: [String] = []
    private var partial: [UInt8] = []

    /// Splits at line feeds; what a line has too much is dropped. Bytes that are no UTF-8 are replaced.
    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                endLine()
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
