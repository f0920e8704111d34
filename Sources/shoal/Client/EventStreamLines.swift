import ShoalCore

/// Cuts a stream of bytes into the `data:` lines of server-sent events.
struct EventStreamLines: Sendable {
    /// The longest line; a node never sends one, so more is not a node.
    static let lineByteCountMax = 4 << 20

    private var pending: [UInt8] = []

    /// The payloads of the lines that are complete now. Other lines, such as comments, are skipped. Throws
    /// `.protocolViolation` if a line grows over the limit.
    mutating func append(_ bytes: [UInt8]) throws(ShoalError) -> [String] {
        pending += bytes
        var payloads: [String] = []
        var start = 0
        while let end = pending[start...].firstIndex(of: UInt8(ascii: "\n")) {
            if let payload = EventStreamLines.payload(of: pending[start..<end]) { payloads.append(payload) }
            start = end + 1
        }
        pending.removeFirst(start)
        guard pending.count <= EventStreamLines.lineByteCountMax else {
            throw ShoalError(
                .protocolViolation, "an event of more than \(EventStreamLines.lineByteCountMax) bytes came")
        }
        return payloads
    }

    private static func payload(of line: ArraySlice<UInt8>) -> String? {
        let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
        guard line.starts(with: "data:".utf8) else { return nil }
        let payload = line.dropFirst("data:".utf8.count)
        return String(decoding: payload.first == UInt8(ascii: " ") ? payload.dropFirst() : payload, as: UTF8.self)
    }
}
