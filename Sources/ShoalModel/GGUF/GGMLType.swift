/// A tensor element type of ggml: how many elements share a block, and how many bytes a block has.
///
/// Source: `enum ggml_type` in ggml.h, `type_traits` in ggml.c and the block sizes asserted in ggml-common.h, at the
/// pinned commit. Numbers that ggml has retired (4, 5, 31-33, 36-38) are not in the table: such files do not load.
package struct GGMLType: Sendable, Hashable, CustomStringConvertible {
    /// ggml's number.
    package let rawValue: UInt32
    package let name: String
    /// Elements per block; a row is a whole number of blocks.
    package let blockElementCount: Int
    package let blockByteCount: Int

    /// Nil for numbers that the pinned ggml does not know.
    package init?(rawValue: UInt32) {
        guard let type = GGMLType.table[rawValue] else { return nil }
        self = type
    }

    private init(_ rawValue: UInt32, _ name: String, _ blockElementCount: Int, _ blockByteCount: Int) {
        self.rawValue = rawValue
        self.name = name
        self.blockElementCount = blockElementCount
        self.blockByteCount = blockByteCount
    }

    package var description: String { name }

    /// Every type of the pinned ggml, by number.
    package static let all: [GGMLType] = [
        GGMLType(0, "f32", 1, 4), GGMLType(1, "f16", 1, 2), GGMLType(2, "q4_0", 32, 18), GGMLType(3, "q4_1", 32, 20),
        GGMLType(6, "q5_0", 32, 22), GGMLType(7, "q5_1", 32, 24), GGMLType(8, "q8_0", 32, 34),
        GGMLType(9, "q8_1", 32, 36), GGMLType(10, "q2_K", 256, 84), GGMLType(11, "q3_K", 256, 110),
        GGMLType(12, "q4_K", 256, 144), GGMLType(13, "q5_K", 256, 176), GGMLType(14, "q6_K", 256, 210),
        GGMLType(15, "q8_K", 256, 292), GGMLType(16, "iq2_xxs", 256, 66), GGMLType(17, "iq2_xs", 256, 74),
        GGMLType(18, "iq3_xxs", 256, 98), GGMLType(19, "iq1_s", 256, 50), GGMLType(20, "iq4_nl", 32, 18),
        GGMLType(21, "iq3_s", 256, 110), GGMLType(22, "iq2_s", 256, 82), GGMLType(23, "iq4_xs", 256, 136),
        GGMLType(24, "i8", 1, 1), GGMLType(25, "i16", 1, 2), GGMLType(26, "i32", 1, 4), GGMLType(27, "i64", 1, 8),
        GGMLType(28, "f64", 1, 8), GGMLType(29, "iq1_m", 256, 56), GGMLType(30, "bf16", 1, 2),
        GGMLType(34, "tq1_0", 256, 54), GGMLType(35, "tq2_0", 256, 66), GGMLType(39, "mxfp4", 32, 17),
        GGMLType(40, "nvfp4", 64, 36), GGMLType(41, "q1_0", 128, 18), GGMLType(42, "q2_0", 64, 18),
    ]

    private static let table = Dictionary(uniqueKeysWithValues: all.map { ($0.rawValue, $0) })

    /// Bytes of a contiguous tensor; nil if a row is not whole blocks or the size does not fit an `Int`.
    package func byteCount(dimensions: [Int]) -> Int? {
        guard let width = dimensions.first, width > 0, width % blockElementCount == 0 else { return nil }
        var total = width / blockElementCount
        for factor in dimensions.dropFirst() + [blockByteCount] {
            let (product, overflow) = total.multipliedReportingOverflow(by: factor)
            guard !overflow, factor > 0 else { return nil }
            total = product
        }
        return total
    }
}
