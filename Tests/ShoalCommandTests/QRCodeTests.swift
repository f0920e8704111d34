import Testing

@testable import shoal

@Suite("QR codes")
struct QRCodeTests {
    /// A code of a repeated character; the FNV-1a is of the modules as "0" and "1", row by row.
    private struct Vector {
        let text: String
        let mask: Int
        let size: Int
        let hash: UInt64

        init(_ character: Character, _ count: Int, mask: Int, size: Int, _ hash: UInt64) {
            text = String(repeating: character, count: count)
            self.mask = mask
            self.size = size
            self.hash = hash
        }
    }

    /// Made with the Python package qrcode 8.2, byte mode, level L.
    private static let vectors: [Vector] = [
        Vector("A", 1, mask: 0, size: 21, 0xD72B7FE738BCBD41),
        Vector("A", 1, mask: 2, size: 21, 0xFB1FEA922C9F6283),
        Vector("A", 1, mask: 5, size: 21, 0xF39B7C466B9020E5),
        Vector("A", 1, mask: 7, size: 21, 0xAC5EFA94BC414A13),
        Vector("x", 100, mask: 0, size: 37, 0x8BC66166BAD6FC2D),
        Vector("x", 100, mask: 2, size: 37, 0x3B3FB86EB3CC18A3),
        Vector("x", 100, mask: 5, size: 37, 0x9299BABB82C94A86),
        Vector("x", 100, mask: 7, size: 37, 0x1F478C8435824433),
        Vector("y", 220, mask: 0, size: 53, 0x77E2CC8598132FC5),
        Vector("y", 220, mask: 2, size: 53, 0xC69E2C6FE5BC2AF7),
        Vector("y", 220, mask: 5, size: 53, 0x9F6530E73EFC540A),
        Vector("y", 220, mask: 7, size: 53, 0x198F68C3B1794B5C),
        Vector("z", 400, mask: 0, size: 69, 0x06B0604752804CB1),
        Vector("z", 400, mask: 2, size: 69, 0x02F2D125CFACDA2F),
        Vector("z", 400, mask: 5, size: 69, 0x099B277AB9D10425),
        Vector("z", 400, mask: 7, size: 69, 0x9951A4DA06078BB7),
        Vector("w", 520, mask: 0, size: 77, 0xCFE99FDBDC157357),
        Vector("w", 520, mask: 2, size: 77, 0x266DEDCEE67B5645),
        Vector("w", 520, mask: 5, size: 77, 0x6AB3AC597CD8B7F4),
        Vector("w", 520, mask: 7, size: 77, 0x58547852E4A1F782),
    ]

    @Test(
        "every module is where another encoder puts it, in versions with one and several blocks, and every kind of mask"
    )
    func vectors() throws {
        for vector in Self.vectors {
            let code = try #require(QRCode(vector.text, mask: vector.mask))
            #expect(code.size == vector.size)
            let hash = code.modules.joined().reduce(0xCBF2_9CE4_8422_2325 as UInt64) { hash, module in
                (hash ^ (module ? 0x31 : 0x30)) &* 0x100_0000_01B3
            }
            #expect(hash == vector.hash, "\(vector.text.count) bytes, mask \(vector.mask)")
        }
    }

    @Test("a code picture is the known one")
    func picture() throws {
        let code = try #require(QRCode("A", mask: 0))
        let rows = code.modules.map { row in String(row.map { $0 ? "#" : "." }) }
        #expect(
            rows == [
                "#######..#.##.#######",
                "#.....#..###..#.....#",
                "#.###.#.##.##.#.###.#",
                "#.###.#..#.#..#.###.#",
                "#.###.#...#.#.#.###.#",
                "#.....#.....#.#.....#",
                "#######.#.#.#.#######",
                "........##.##........",
                "###.########.##...#..",
                "#.##....#.....#...##.",
                ".#.####..##.#...#...#",
                ".#.##...##....#...#..",
                "..##.##.#...#.#.#.#.#",
                "........#..#.#.#.#.#.",
                "#######.#.##.###.####",
                "#.....#.######.###...",
                "#.###.#.##.#.###.##.#",
                "#.###.#..##...#...##.",
                "#.###.#.##..#...#...#",
                "#.....#.#.....#...##.",
                "#######.###.#.#.#.###",
            ])
    }

    @Test("the longest text is 520 bytes")
    func capacity() {
        #expect(QRCode(String(repeating: "w", count: 520)) != nil)
        #expect(QRCode(String(repeating: "w", count: 521)) == nil)
    }

    @Test("the smallest version is taken, at the edges of two")
    func versions() {
        #expect(QRCode(String(repeating: "a", count: 17))?.size == 21)
        #expect(QRCode(String(repeating: "a", count: 18))?.size == 25)
        #expect(QRCode("")?.size == 21)
    }

    @Test("in a terminal the code is dark on light, two rows to a line, with four modules of margin")
    func terminal() throws {
        let lines = try #require(QRCode("A")).terminalLines
        #expect(lines.count == 15)
        #expect(lines.allSatisfy { $0.hasPrefix("\u{1B}[38;5;16;48;5;231m") && $0.hasSuffix("\u{1B}[0m") })
        #expect(lines[0].count { $0 == " " } == 29)
    }
}
