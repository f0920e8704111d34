/// The square of a QR code while it is made: patterns, data, mask. Level L. Source: ISO/IEC 18004:2015, 6.3 and 7.7 to
/// 7.10.
struct QRMatrix {
    let size: Int
    private(set) var modules: [[Bool]]
    /// Modules that carry no data.
    private var reserved: [[Bool]]
    private let version: Int

    init(version: Int) {
        self.version = version
        size = version * 4 + 17
        modules = Array(repeating: Array(repeating: false, count: size), count: size)
        reserved = modules
        drawTiming()
        for (row, column) in [(3, 3), (3, size - 4), (size - 4, 3)] { drawFinder(row, column) }
        drawAlignment()
        drawVersion()
        drawFormat(mask: 0)
    }

    /// Modules for data and error correction.
    static func dataModuleCount(_ version: Int) -> Int {
        QRMatrix(version: version).reserved.joined().count { !$0 } / 8 * 8
    }

    // MARK: Patterns

    private mutating func set(_ row: Int, _ column: Int, _ isDark: Bool) {
        guard modules.indices.contains(row), modules.indices.contains(column) else { return }
        modules[row][column] = isDark
        reserved[row][column] = true
    }

    private mutating func drawTiming() {
        for index in 0..<size {
            set(6, index, index % 2 == 0)
            set(index, 6, index % 2 == 0)
        }
    }

    private mutating func drawFinder(_ row: Int, _ column: Int) {
        for (down, right) in Self.square(4) {
            let distance = max(abs(down), abs(right))
            set(row + down, column + right, distance != 2 && distance != 4)
        }
    }

    private mutating func drawAlignment() {
        let positions = alignmentPositions
        for row in positions {
            for column in positions {
                let isFinder =
                    row == 6 && (column == 6 || column == size - 7) || row == size - 7 && column == 6
                guard !isFinder else { continue }
                for (down, right) in Self.square(2) { set(row + down, column + right, max(abs(down), abs(right)) != 1) }
            }
        }
    }

    /// Annex E, as a rule that holds up to version 15.
    private var alignmentPositions: [Int] {
        guard version > 1 else { return [] }
        let count = version / 7 + 2
        let step = (version * 4 + count * 2 + 1) / (count * 2 - 2) * 2
        return [6] + (0..<count - 1).reversed().map { size - 7 - $0 * step }
    }

    private mutating func drawVersion() {
        guard version >= 7 else { return }
        let bits = version << 12 | Self.remainder(version, generator: 0x1F25, degree: 12)
        for index in 0..<18 {
            let (near, far) = (index / 3, size - 11 + index % 3)
            set(near, far, bits >> index & 1 == 1)
            set(far, near, bits >> index & 1 == 1)
        }
    }

    private mutating func drawFormat(mask: Int) {
        // Level L is 01.
        let data = 0b01 << 3 | mask
        let bits = (data << 10 | Self.remainder(data, generator: 0x537, degree: 10)) ^ 0x5412
        let isDark = { (index: Int) in bits >> index & 1 == 1 }
        for index in 0..<6 { set(index, 8, isDark(index)) }
        set(7, 8, isDark(6))
        set(8, 8, isDark(7))
        set(8, 7, isDark(8))
        for index in 9..<15 { set(8, 14 - index, isDark(index)) }
        for index in 0..<8 { set(8, size - 1 - index, isDark(index)) }
        for index in 8..<15 { set(size - 15 + index, 8, isDark(index)) }
        set(size - 8, 8, true)
    }

    // MARK: Data

    /// Fills the free modules in the standard's zigzag.
    mutating func place(_ codewords: [UInt8]) {
        var bit = 0
        for right in stride(from: size - 1, through: 1, by: -2) {
            // The timing column is skipped.
            let right = right <= 6 ? right - 1 : right
            let isUpward = (right + 1) & 2 == 0
            for step in 0..<size {
                let row = isUpward ? size - 1 - step : step
                for column in [right, right - 1] where !reserved[row][column] && bit < codewords.count * 8 {
                    modules[row][column] = codewords[bit / 8] >> (7 - bit % 8) & 1 == 1
                    bit += 1
                }
            }
        }
    }

    /// Inverts the data by a pattern and writes which one.
    mutating func apply(mask: Int) {
        for row in 0..<size {
            for column in 0..<size where !reserved[row][column] && Self.inverts(mask, row, column) {
                modules[row][column].toggle()
            }
        }
        drawFormat(mask: mask)
    }

    private static func inverts(_ mask: Int, _ row: Int, _ column: Int) -> Bool {
        switch mask {
        case 0: (row + column) % 2 == 0
        case 1: row % 2 == 0
        case 2: column % 3 == 0
        case 3: (row + column) % 3 == 0
        case 4: (row / 2 + column / 3) % 2 == 0
        case 5: row * column % 2 + row * column % 3 == 0
        case 6: (row * column % 2 + row * column % 3) % 2 == 0
        default: ((row + column) % 2 + row * column % 3) % 2 == 0
        }
    }

    // MARK: Penalty, 7.8.3

    /// How hard the pattern is to read; the mask with the least is taken.
    var penalty: Int {
        let columns = (0..<size).map { column in modules.map { $0[column] } }
        let lines = (modules + columns).reduce(0) { $0 + Self.penalty(ofLine: $1) }
        let dark = modules.joined().count { $0 }
        return lines + blockPenalty + abs(dark * 20 - size * size * 10) / (size * size) * 10
    }

    private static let finderLike: [[Bool]] = {
        let core = [true, false, true, true, true, false, true]
        let light = [false, false, false, false]
        return [core + light, light + core]
    }()

    private static func penalty(ofLine line: [Bool]) -> Int {
        var penalty = 0
        var run = 0
        for index in line.indices {
            run = index > 0 && line[index] == line[index - 1] ? run + 1 : 1
            if run == 5 { penalty += 3 }
            if run > 5 { penalty += 1 }
            for pattern in finderLike where index + pattern.count <= line.count {
                if line[index..<index + pattern.count].elementsEqual(pattern) { penalty += 40 }
            }
        }
        return penalty
    }

    private var blockPenalty: Int {
        var penalty = 0
        for row in 1..<size {
            for column in 1..<size {
                let module = modules[row][column]
                if modules[row - 1][column] == module, modules[row][column - 1] == module,
                    modules[row - 1][column - 1] == module
                {
                    penalty += 3
                }
            }
        }
        return penalty
    }

    // MARK: Helpers

    private static func square(_ radius: Int) -> [(Int, Int)] {
        (-radius...radius).flatMap { row in (-radius...radius).map { (row, $0) } }
    }

    /// The check bits of a BCH code.
    private static func remainder(_ value: Int, generator: Int, degree: Int) -> Int {
        var remainder = value
        for _ in 0..<degree { remainder = remainder << 1 ^ (remainder >> (degree - 1)) * generator }
        return remainder
    }
}
