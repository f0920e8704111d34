/// Spoils bytes in the ways that decoders get wrong.
package enum ByteMutation {
    /// Numbers at the edges of what integers hold, in either byte order.
    private static let edges: [UInt64] = [
        0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF,
        0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFE0,
    ]

    /// `original` after one to four spoilings, and now and then something unrelated.
    package static func mutated(_ original: [UInt8], using random: inout SeededGenerator) -> [UInt8] {
        if Int.random(in: 0..<20, using: &random) == 0 {
            return noise(.random(in: 0...300, using: &random), using: &random)
        }
        var bytes = original
        for _ in 0..<Int.random(in: 1...4, using: &random) { spoil(&bytes, using: &random) }
        return bytes
    }

    package static func noise(_ count: Int, using random: inout SeededGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
    }

    private static func spoil(_ bytes: inout [UInt8], using random: inout SeededGenerator) {
        guard !bytes.isEmpty else { return bytes = noise(8, using: &random) }
        let place = Int.random(in: 0..<bytes.count, using: &random)
        let length = min(Int.random(in: 1...16, using: &random), bytes.count - place)
        switch Int.random(in: 0..<7, using: &random) {
        case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1: bytes[place] = .random(in: .min ... .max, using: &random)
        case 2: bytes.removeSubrange(place..<place + length)
        case 3: bytes.insert(contentsOf: bytes[place..<place + length], at: place)
        case 4: bytes.removeLast(bytes.count - place)
        case 5: bytes.insert(contentsOf: noise(length, using: &random), at: place)
        default: writeEdge(at: place, in: &bytes, using: &random)
        }
    }

    private static func writeEdge(at place: Int, in bytes: inout [UInt8], using random: inout SeededGenerator) {
        let value = edges.randomElement(using: &random) ?? 0
        let width = [1, 2, 4, 8].randomElement(using: &random) ?? 4
        let isLittle = Bool.random(using: &random)
        for index in 0..<width where place + index < bytes.count {
            let shift = 8 * (isLittle ? index : width - 1 - index)
            bytes[place + index] = UInt8(truncatingIfNeeded: value >> shift)
        }
    }
}
