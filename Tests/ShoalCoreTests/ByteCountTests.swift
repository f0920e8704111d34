import Foundation
import ShoalCore
import Testing

@Suite("Byte counts")
struct ByteCountTests {
    @Test(
        "sizes are read with binary, decimal and no units",
        arguments: [
            ("4096", 4096), ("80MiB", 83_886_080), ("1.5 GiB", 1_610_612_736), ("500MB", 500_000_000), ("2k", 2048),
            ("2kb", 2000), (" 3 TiB ", 3_298_534_883_328), ("7b", 7), ("0", 0), ("1.9", 1),
        ])
    func parses(text: String, bytes: Int) {
        #expect(ByteCount(parsing: text) == ByteCount(bytes))
    }

    @Test(
        "what is no size is refused",
        arguments: ["", "MiB", "-1", "1.2.3", "12 apples", "1e3", "99999999999 TiB", "nan", "0x10", "½"])
    func refuses(text: String) {
        #expect(ByteCount(parsing: text) == nil)
    }

    @Test("sizes are printed in MiB, and in GiB from one GiB on")
    func prints() {
        #expect(ByteCount(0).description == "0.0 MiB")
        #expect(ByteCount(98_362_432).description == "93.8 MiB")
        #expect(ByteCount(1_073_741_823).description == "1024.0 MiB")
        #expect(ByteCount(1_073_741_824).description == "1.0 GiB")
        #expect(ByteCount(76_235_669_504).description == "71.0 GiB")
    }

    @Test("a difference never goes below zero")
    func minus() {
        #expect(ByteCount(5).minus(ByteCount(3)) == ByteCount(2))
        #expect(ByteCount(3).minus(ByteCount(5)) == .zero)
    }

    @Test("one decimal is rounded, keeps the sign, and takes what has none")
    func decimals() {
        #expect(oneDecimal(1.25) == "1.3")
        #expect(oneDecimal(-0.26) == "-0.3")
        #expect(oneDecimal(-12.34) == "-12.3")
        #expect(oneDecimal(.infinity) == "inf")
        #expect(oneDecimal(-0.04) == "0.0")
    }

    @Test("in JSON it is a plain number, and a negative one is refused")
    func codes() throws {
        #expect(String(decoding: try JSONEncoder().encode([ByteCount(7)]), as: UTF8.self) == "[7]")
        #expect(try JSONDecoder().decode([ByteCount].self, from: Data("[7]".utf8)) == [ByteCount(7)])
        #expect(throws: DecodingError.self) { try JSONDecoder().decode([ByteCount].self, from: Data("[-7]".utf8)) }
    }
}
