package import ShoalCore

/// Bytes that can be read anywhere: a file, or an array in tests.
package protocol RandomAccessBytes: Sendable {
    var byteCount: Int { get }
    /// Exactly `count` bytes from `offset`. Throws `malformedModel` if the source ends before, `fileUnreadable` on I/O
    /// errors. Callers check `count` against a limit first.
    func read(offset: Int, count: Int) throws(ShoalError) -> [UInt8]
}

/// An array as a file.
package struct MemoryBytes: RandomAccessBytes {
    private let bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    package var byteCount: Int { bytes.count }

    package func read(offset: Int, count: Int) throws(ShoalError) -> [UInt8] {
        guard offset >= 0, count >= 0, offset <= bytes.count, count <= bytes.count - offset else {
            throw ShoalError(
                .malformedModel, "the file ends at byte \(bytes.count); \(count) bytes at \(offset) are missing")
        }
        return Array(bytes[offset..<offset + count])
    }
}
