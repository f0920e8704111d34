/// Turns byte pieces that may end inside a character into whole UTF-8, and keeps the rest for the next piece.
///
/// Bytes that can never become valid are replaced by U+FFFD, one per maximal subpart, as `String(decoding:as:)` does:
/// the result never depends on where the pieces were cut. At most `heldByteCountMax` bytes wait.
struct UTF8Assembler: Sendable {
    /// The longest beginning of a character that is not yet the whole character.
    static let heldByteCountMax = 3

    private var held: [UInt8] = []

    /// Valid UTF-8 of everything that is complete.
    mutating func append(_ piece: [UInt8]) -> [UInt8] {
        let bytes = held + piece
        let tailCount = UTF8Assembler.incompleteTailByteCount(bytes)
        assert(tailCount <= UTF8Assembler.heldByteCountMax)
        held = Array(bytes.suffix(tailCount))
        return UTF8Assembler.repaired(bytes.dropLast(tailCount))
    }

    /// What still waits, as a replacement character; nothing waits afterwards.
    mutating func finish() -> [UInt8] {
        defer { held = [] }
        return UTF8Assembler.repaired(held[...])
    }

    private static func repaired(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        Array(String(decoding: bytes, as: UTF8.self).utf8)
    }

    /// How many bytes at the end are a beginning of one character that more bytes could complete.
    private static func incompleteTailByteCount(_ bytes: [UInt8]) -> Int {
        for count in 1...heldByteCountMax where count <= bytes.count {
            let lead = bytes[bytes.count - count]
            if lead & 0b1100_0000 == 0b1000_0000 { continue }
            let isIncomplete = count < characterByteCount(lead: lead)
            let second = count > 1 ? bytes[bytes.count - count + 1] : nil
            return isIncomplete && isPossible(second: second, after: lead) ? count : 0
        }
        return 0
    }

    /// Bytes of the character that begins with `lead`; 1 when it can begin none.
    private static func characterByteCount(lead: UInt8) -> Int {
        switch lead {
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 1
        }
    }

    /// Rules out overlong forms, surrogates and values past U+10FFFF. Source: Unicode 15, table 3-7.
    private static func isPossible(second: UInt8?, after lead: UInt8) -> Bool {
        guard let second else { return true }
        return switch lead {
        case 0xE0: second >= 0xA0
        case 0xED: second < 0xA0
        case 0xF0: second >= 0x90
        case 0xF4: second < 0x90
        default: true
        }
    }
}
