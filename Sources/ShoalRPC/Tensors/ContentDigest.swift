/// The SHA-256 of some bytes: 32 bytes.
package struct ContentDigest: Sendable, Hashable, CustomStringConvertible {
    package static let byteCount = 32

    package let bytes: [UInt8]

    /// Nil unless there are 32 bytes.
    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == ContentDigest.byteCount else { return nil }
        self.bytes = Array(bytes)
    }

    /// 64 hexadecimal digits in lower case; nil for anything else.
    package init?(hexadecimal text: some StringProtocol) {
        let digits = text.utf8.map(ContentDigest.value)
        guard digits.count == 2 * ContentDigest.byteCount, !digits.contains(nil) else { return nil }
        let values = digits.compactMap(\.self)
        bytes = stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] }
    }

    package var description: String {
        bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x61...0x66: digit - 0x61 + 10
        default: nil
        }
    }
}
