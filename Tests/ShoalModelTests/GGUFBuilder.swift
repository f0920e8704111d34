import ShoalModel

/// Writes GGUF files for tests, right or wrong on request. Independent of the product's writer.
struct GGUFBuilder {
    struct Tensor {
        var name: String
        var dimensions: [Int]
        var type: UInt32 = 0
        var byteCount: Int
        /// Nil: where it belongs.
        var claimedOffset: Int?
    }

    var version: UInt32 = 3
    var alignment = 32
    var keyCount: UInt64?
    var tensorCount: UInt64?
    private(set) var keyEntries: [[UInt8]] = []
    var tensors: [Tensor] = []

    // MARK: Keys

    mutating func add(_ name: String, raw value: [UInt8], type: UInt32) {
        keyEntries.append(GGUFBuilder.text(name) + GGUFBuilder.little(type) + value)
    }

    mutating func add(_ name: String, _ value: String) { add(name, raw: GGUFBuilder.text(value), type: 8) }

    mutating func add(_ name: String, _ value: UInt32) { add(name, raw: GGUFBuilder.little(value), type: 4) }

    mutating func add(_ name: String, uint16 value: UInt16) { add(name, raw: GGUFBuilder.little(value), type: 2) }

    mutating func add(_ name: String, int32s values: [Int32]) {
        let header = GGUFBuilder.little(UInt32(5)) + GGUFBuilder.little(UInt64(values.count))
        add(name, raw: header + values.flatMap { GGUFBuilder.little(UInt32(bitPattern: $0)) }, type: 9)
    }

    mutating func add(_ name: String, strings values: [String]) {
        let header = GGUFBuilder.little(UInt32(8)) + GGUFBuilder.little(UInt64(values.count))
        add(name, raw: header + values.flatMap(GGUFBuilder.text), type: 9)
    }

    // MARK: Tensors

    /// Of 32-bit floats unless said.
    mutating func addTensor(_ name: String, _ dimensions: [Int], type: GGMLType? = nil) {
        let type = type ?? GGMLType.all[0]
        let byteCount = type.byteCount(dimensions: dimensions) ?? 0
        tensors.append(Tensor(name: name, dimensions: dimensions, type: type.rawValue, byteCount: byteCount))
    }

    // MARK: The file

    /// The header alone, padded.
    func header() -> [UInt8] {
        var bytes = Array("GGUF".utf8) + GGUFBuilder.little(version)
        bytes += GGUFBuilder.little(tensorCount ?? UInt64(tensors.count))
        bytes += GGUFBuilder.little(keyCount ?? UInt64(keyEntries.count))
        bytes += keyEntries.flatMap { $0 }
        var offset = 0
        for tensor in tensors {
            bytes += GGUFBuilder.text(tensor.name) + GGUFBuilder.little(UInt32(tensor.dimensions.count))
            for size in tensor.dimensions { bytes += GGUFBuilder.little(UInt64(bitPattern: Int64(size))) }
            bytes += GGUFBuilder.little(tensor.type)
            bytes += GGUFBuilder.little(UInt64(tensor.claimedOffset ?? offset))
            offset = padded(offset + tensor.byteCount)
        }
        return bytes + [UInt8](repeating: 0, count: padded(bytes.count) - bytes.count)
    }

    /// Tensor data counts up, so that every byte tells where it was.
    func file() -> [UInt8] {
        let header = header()
        let dataByteCount = tensors.reduce(0) { padded($0 + $1.byteCount) }
        return header + (0..<dataByteCount).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    }

    private func padded(_ offset: Int) -> Int { (offset + alignment - 1) / alignment * alignment }

    static func text(_ value: String) -> [UInt8] { little(UInt64(value.utf8.count)) + Array(value.utf8) }

    static func little(_ value: some FixedWidthInteger) -> [UInt8] {
        (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
}

/// Counts up in a way that repeats for a seed. Source: SplitMix64, Steele, Lea and Flood 2014.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
