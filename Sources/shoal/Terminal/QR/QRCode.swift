/// A QR code of text: byte mode, error correction level L, the smallest version up to 15. Source: ISO/IEC 18004:2015.
struct QRCode {
    /// Modules on each side.
    let size: Int
    /// Rows from the top; true is dark.
    let modules: [[Bool]]

    /// Per version from 1: error correction bytes of a block, and the number of blocks. Level L, table 9.
    private static let blocks = [
        (7, 1), (10, 1), (15, 1), (20, 1), (26, 1), (18, 2), (20, 2), (24, 2), (30, 2), (18, 4), (20, 4), (24, 4),
        (26, 4), (30, 4), (22, 6),
    ]

    /// Nil for more bytes than version 15 holds, 520. `mask` is chosen as the standard says unless it is given.
    init?(_ text: String, mask: Int? = nil) {
        let bytes = Array(text.utf8)
        guard
            let version = (1...Self.blocks.count).first(where: { version in
                Self.headerBitCount(version) + bytes.count * 8 <= Self.dataByteCount(version) * 8
            })
        else { return nil }
        var best: QRMatrix?
        for candidate in mask.map({ [$0] }) ?? Array(0..<8) {
            var matrix = QRMatrix(version: version)
            matrix.place(Self.codewords(bytes, version))
            matrix.apply(mask: candidate)
            if best.map({ matrix.penalty < $0.penalty }) ?? true { best = matrix }
        }
        guard let best else { return nil }
        size = best.size
        modules = best.modules
    }

    /// Two rows of modules per line of text, dark on light whatever the terminal's colours, with the quiet zone.
    var terminalLines: [String] {
        let border = 4
        let isDark = { (row: Int, column: Int) -> Bool in
            modules.indices.contains(row) && modules.indices.contains(column) && modules[row][column]
        }
        return stride(from: -border, to: size + border, by: 2).map { row in
            let blocks = (-border..<size + border).map { column in
                switch (isDark(row, column), isDark(row + 1, column)) {
                case (false, false): " "
                case (true, false): "\u{2580}"
                case (false, true): "\u{2584}"
                case (true, true): "\u{2588}"
                }
            }
            return "\u{1B}[38;5;16;48;5;231m" + blocks.joined() + "\u{1B}[0m"
        }
    }

    private static func headerBitCount(_ version: Int) -> Int { version < 10 ? 12 : 20 }

    private static func dataByteCount(_ version: Int) -> Int {
        QRMatrix.dataModuleCount(version) / 8 - blocks[version - 1].0 * blocks[version - 1].1
    }

    /// Data with padding, cut into blocks, each with its error correction, interleaved.
    static func codewords(_ bytes: [UInt8], _ version: Int) -> [UInt8] {
        let data = padded(bytes, version)
        let (correctionCount, blockCount) = blocks[version - 1]
        let shortLength = data.count / blockCount
        let longCount = data.count % blockCount
        let generator = GaloisField.generator(correctionCount)
        var parts: [[UInt8]] = []
        var rest = data[...]
        for index in 0..<blockCount {
            // The blocks that are longer by one come last.
            let length = shortLength + (index >= blockCount - longCount ? 1 : 0)
            parts.append(Array(rest.prefix(length)))
            rest = rest.dropFirst(length)
        }
        let corrections = parts.map { GaloisField.remainder($0, generator: generator) }
        let interleaved = (0...shortLength).flatMap { index in
            parts.compactMap { $0.indices.contains(index) ? $0[index] : nil }
        }
        return interleaved + (0..<correctionCount).flatMap { index in corrections.map { $0[index] } }
    }

    private static func padded(_ bytes: [UInt8], _ version: Int) -> [UInt8] {
        var bits: [Bool] = []
        func append(_ value: Int, _ count: Int) {
            for bit in (0..<count).reversed() { bits.append(value >> bit & 1 == 1) }
        }
        append(0b0100, 4)
        append(bytes.count, headerBitCount(version) - 4)
        for byte in bytes { append(Int(byte), 8) }
        let capacity = dataByteCount(version) * 8
        append(0, min(4, capacity - bits.count))
        append(0, (8 - bits.count % 8) % 8)
        var pad = 0xEC
        while bits.count < capacity {
            append(pad, 8)
            pad ^= 0xEC ^ 0x11
        }
        return stride(from: 0, to: bits.count, by: 8).map { start in
            bits[start..<start + 8].reduce(0) { $0 << 1 | ($1 ? 1 : 0) }
        }
    }
}
