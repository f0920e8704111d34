import Testing

@testable import shoal

@Suite("QR codes")
struct QRCodeTests {
    /// Text, mask, size, and the FNV-1a of the modules as "0" and "1" row by row. Made with segno 1.6.6, byte mode, level L.
    private static let vectors: [(text: String, mask: Int, size: Int, hash: UInt64)] = {
        [
            ("A", 0, 21, 0x5BACA42B80C8F7BB),
            ("A", 2, 21, 0xF132EC2BB8CF40B5),
            ("A", 5, 21, 0x592B673C3AB2ED07),
            ("A", 7, 21, 0xEE2C78CE1A1586D1),
            (String(repeating: "x", count: 100), 0, 37, 0xD29152B6A0E7C68D),
            (String(repeating: "x", count: 100), 2, 37, 0x41395A59C08088E7),
            (String(repeating: "x", count: 100), 5, 37, 0x7E680A0A3A38676A),
            (String(repeating: "x", count: 100), 7, 37, 0xC499C70964B5429B),
            ("SHOAL1" + String(repeating: "0123456789ABCDEFGHJKMNPQ", count: 6), 0, 45, 0xE896700BDDA92DD7),
            ("SHOAL1" + String(repeating: "0123456789ABCDEFGHJKMNPQ", count: 6), 2, 45, 0xA5BD9E6B55CA977D),
            ("SHOAL1" + String(repeating: "0123456789ABCDEFGHJKMNPQ", count: 6), 5, 45, 0xE7B95F6585A70203),
            ("SHOAL1" + String(repeating: "0123456789ABCDEFGHJKMNPQ", count: 6), 7, 45, 0xEBDA47EA3AD8DEC5),
            (String(repeating: "y", count: 220), 0, 53, 0xECDCAE2A3CA746DF),
            (String(repeating: "y", count: 220), 2, 53, 0xAD9553CFE325E00D),
            (String(repeating: "y", count: 220), 5, 53, 0x8201B8C13F07F320),
            (String(repeating: "y", count: 220), 7, 53, 0x0239204C6279E2B6),
            (String(repeating: "z", count: 400), 0, 69, 0xD4B30DE5FDE39ABD),
            (String(repeating: "z", count: 400), 2, 69, 0x7E51D7EC4DCE8987),
            (String(repeating: "z", count: 400), 5, 69, 0xE2C026DC18A14DA5),
            (String(repeating: "z", count: 400), 7, 69, 0x4B68F0951A5BDA0F),
            (String(repeating: "w", count: 520), 0, 77, 0xCFE99FDBDC157357),
            (String(repeating: "w", count: 520), 2, 77, 0x266DEDCEE67B5645),
            (String(repeating: "w", count: 520), 5, 77, 0x6AB3AC597CD8B7F4),
            (String(repeating: "w", count: 520), 7, 77, 0x58547852E4A1F782),
        ]
    }()

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
                "#######...#.#.#######",
                "#.....#.....#.#.....#",
                "#.###.#.#.#...#.###.#",
                "#.###.#.....#.#.###.#",
                "#.###.#..#.##.#.###.#",
                "#.....#..###..#.....#",
                "#######.#.#.#.#######",
                "........#.#..........",
                "###.#####.#.###...#..",
                "##.#.#.....#.#.#.#.#.",
                "##....#..#.#.###..#.#",
                ".......#.#####.###...",
                "#.#.#.#..#.#.###..#.#",
                "........##....#...##.",
                "#######.#.#.#...#..##",
                "#.....#.#.....#...#..",
                "#.###.#.##..#.#.#.#.#",
                "#.###.#...##.#.#.#.#.",
                "#.###.#.##.#.###.##.#",
                "#.....#.#..###.###.#.",
                "#######.#.##.###.####",
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
