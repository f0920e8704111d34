/// Writes a GGUF header, version 3, little-endian.
///
/// Keys are written in the order they come; copied ones keep their bytes. Tensor data is laid out in the order of the
/// descriptions, each tensor aligned, as readers demand.
struct GGUFHeaderWriter {
    private let alignment: Int
    private var keyCount = 0
    private var tensorCount = 0
    private var keyBytes: [UInt8] = []
    private var descriptionBytes: [UInt8] = []
    /// Of the tensor data so far, padding included.
    private(set) var dataByteCount = 0

    init(alignment: Int) { self.alignment = alignment }

    /// Copies an entry of another header unchanged.
    mutating func copy(_ key: GGUFHeader.Key, from header: GGUFHeader) {
        keyBytes += header.bytes[key.entry]
        keyCount += 1
    }

    mutating func add(_ name: String, string: String) {
        begin(name, .string)
        append(string)
    }

    mutating func add(_ name: String, uint32: Int) {
        begin(name, .uint32)
        append(UInt32(uint32), to: &keyBytes)
    }

    mutating func add(_ name: String, booleans: [Bool]) {
        beginArray(name, .bool, count: booleans.count)
        keyBytes += booleans.map { $0 ? 1 : 0 }
    }

    /// An array whose elements are already little-endian bytes.
    mutating func add(_ name: String, elementType: GGUFValueType, count: Int, bytes: ArraySlice<UInt8>) {
        beginArray(name, elementType, count: count)
        keyBytes += bytes
    }

    /// Describes a tensor and returns where its bytes begin, counted from the start of the tensor data.
    mutating func addTensor(name: String, dimensions: [Int], type: GGMLType, byteCount: Int) -> Int {
        append(UInt64(name.utf8.count), to: &descriptionBytes)
        descriptionBytes += name.utf8
        append(UInt32(dimensions.count), to: &descriptionBytes)
        for size in dimensions { append(UInt64(size), to: &descriptionBytes) }
        append(type.rawValue, to: &descriptionBytes)
        append(UInt64(dataByteCount), to: &descriptionBytes)
        tensorCount += 1
        defer { dataByteCount = aligned(dataByteCount + byteCount, to: alignment) }
        return dataByteCount
    }

    /// The header, padded so that tensor data follows it directly.
    func finished() -> [UInt8] {
        var header = Array("GGUF".utf8)
        append(UInt32(3), to: &header)
        append(UInt64(tensorCount), to: &header)
        append(UInt64(keyCount), to: &header)
        header += keyBytes
        header += descriptionBytes
        header += [UInt8](repeating: 0, count: aligned(header.count, to: alignment) - header.count)
        return header
    }

    private mutating func begin(_ name: String, _ type: GGUFValueType) {
        append(name)
        append(type.rawValue, to: &keyBytes)
        keyCount += 1
    }

    private mutating func beginArray(_ name: String, _ elementType: GGUFValueType, count: Int) {
        begin(name, .array)
        append(elementType.rawValue, to: &keyBytes)
        append(UInt64(count), to: &keyBytes)
    }

    private mutating func append(_ text: String) {
        append(UInt64(text.utf8.count), to: &keyBytes)
        keyBytes += text.utf8
    }

    private func append(_ value: some FixedWidthInteger & UnsignedInteger, to bytes: inout [UInt8]) {
        var rest = value
        for _ in 0..<value.bitWidth / 8 {
            bytes.append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }
}
