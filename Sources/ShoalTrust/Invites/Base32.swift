/// Crockford's base 32: no letters that look like digits, upper and lower case mean the same.
enum Base32 {
    private static let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)

    static func text(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        var buffer = 0
        var bitCount = 0
        for byte in bytes {
            buffer = (buffer << 8 | Int(byte)) & 0xFFFF
            bitCount += 8
            while bitCount >= 5 {
                bitCount -= 5
                text.append(alphabet[buffer >> bitCount & 31])
            }
        }
        if bitCount > 0 { text.append(alphabet[buffer << (5 - bitCount) & 31]) }
        return String(decoding: text, as: UTF8.self)
    }

    /// Nil for a character that is not of the alphabet, and unless the bits left over are zero.
    static func bytes(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        var buffer = 0
        var bitCount = 0
        for character in text {
            guard let digit = value(character) else { return nil }
            buffer = (buffer << 5 | digit) & 0xFFFF
            bitCount += 5
            guard bitCount >= 8 else { continue }
            bitCount -= 8
            bytes.append(UInt8(truncatingIfNeeded: buffer >> bitCount))
        }
        guard bitCount < 5, buffer & (1 << bitCount - 1) == 0 else { return nil }
        return bytes
    }

    private static func value(_ character: UInt8) -> Int? {
        let isLetter = (0x61...0x7A).contains(character)
        switch isLetter ? character & 0xDF : character {
        case UInt8(ascii: "O"): return 0
        case UInt8(ascii: "I"), UInt8(ascii: "L"): return 1
        case let character: return alphabet.firstIndex(of: character)
        }
    }
}
