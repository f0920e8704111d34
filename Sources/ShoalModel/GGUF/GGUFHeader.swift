package import ShoalCore

/// The header of one GGUF file: its metadata keys and where each tensor's bytes lie. Tensor data is not in it.
///
/// Values stay in the file's own bytes and are decoded when asked for, so that a vocabulary of 150,000 strings costs
/// one range, and copying or dropping a key is a matter of copying or dropping bytes.
package struct GGUFHeader: Sendable {
    /// One metadata entry.
    package struct Key: Sendable, Hashable {
        package var name: String
        package var type: GGUFValueType
        /// Of an array; the value's own type otherwise.
        package var elementType: GGUFValueType
        /// Of an array; 1 otherwise.
        package var elementCount: Int
        /// The whole entry in `bytes`: name, type and value.
        package var entry: Range<Int>
        /// The value in `bytes`: after an array's type and count, after a string's length.
        package var value: Range<Int>

        package var isArray: Bool { type == .array }
    }

    /// One tensor of this file.
    package struct Tensor: Sendable, Hashable {
        package var name: String
        /// Elements per dimension, fastest first; 1 to 4 of them, all positive.
        package var dimensions: [Int]
        package var type: GGMLType
        package var byteCount: Int
        /// From the start of the file.
        package var fileOffset: Int
    }

    /// For messages: the path.
    package let fileName: String
    /// Of the whole file.
    package let fileByteCount: Int
    package let version: UInt32
    /// Of tensor data; a power of two.
    package let alignment: Int
    package let keys: [Key]
    package let tensors: [Tensor]
    /// Everything before the tensor data.
    package let bytes: [UInt8]
    private let keyNumbers: [String: Int]

    init(
        fileName: String, fileByteCount: Int, version: UInt32, alignment: Int, keys: [Key], tensors: [Tensor],
        bytes: [UInt8]
    ) {
        self.fileName = fileName
        self.fileByteCount = fileByteCount
        self.version = version
        self.alignment = alignment
        self.keys = keys
        self.tensors = tensors
        self.bytes = bytes
        keyNumbers = Dictionary(keys.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    package func key(_ name: String) -> Key? { keyNumbers[name].map { keys[$0] } }

    /// The bytes of a value, little-endian, as they are in the file.
    package func valueBytes(_ key: Key) -> ArraySlice<UInt8> { bytes[key.value] }

    /// A string; nil if the key is absent. Throws `malformedModel` if it is something else.
    package func string(_ name: String) throws(ShoalError) -> String? {
        guard let key = key(name) else { return nil }
        guard key.type == .string else { throw wrongType(key, expected: "a string") }
        return String(decoding: bytes[key.value], as: UTF8.self)
    }

    /// An integer of any width, in `0...max`; nil if absent. Throws `malformedModel` if it is something else.
    package func integer(_ name: String, max: Int) throws(ShoalError) -> Int? {
        guard let key = key(name) else { return nil }
        guard !key.isArray, let value = integer(key, at: 0) else { throw wrongType(key, expected: "an integer") }
        return try checked(value, key, max: max)
    }

    /// Integers or booleans of a scalar or array, one per layer; nil if absent. A scalar stands for every layer.
    /// Throws `malformedModel` for another type or an array of another length.
    package func integersPerLayer(_ name: String, layerCount: Int, max: Int) throws(ShoalError) -> [Int]? {
        guard let key = key(name) else { return nil }
        guard !key.isArray || key.elementCount == layerCount else {
            throw ShoalError(
                .malformedModel,
                "\(fileName): \(quoted(name)) holds \(key.elementCount) values, but the model has \(layerCount) layers")
        }
        var values: [Int] = []
        for index in 0..<key.elementCount {
            guard let value = integer(key, at: index) else { throw wrongType(key, expected: "integers") }
            values.append(try checked(value, key, max: max))
        }
        return key.isArray ? values : Array(repeating: values[0], count: layerCount)
    }

    private func integer(_ key: Key, at index: Int) -> Int? {
        guard let size = key.elementType.byteCount else { return nil }
        let slice = bytes[key.value].dropFirst(index * size).prefix(size)
        let bits = slice.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return switch key.elementType {
        case .uint8, .uint16, .uint32, .uint64: Int(exactly: bits) ?? Int.max
        case .int8: Int(Int8(truncatingIfNeeded: bits))
        case .int16: Int(Int16(truncatingIfNeeded: bits))
        case .int32: Int(Int32(truncatingIfNeeded: bits))
        case .int64: Int(Int64(bitPattern: bits))
        case .bool: bits == 0 ? 0 : 1
        case .float32, .float64, .string, .array: nil
        }
    }

    private func checked(_ value: Int, _ key: Key, max: Int) throws(ShoalError) -> Int {
        guard (0...max).contains(value) else {
            throw ShoalError(
                .malformedModel, "\(fileName): \(quoted(key.name)) is \(value); it must be between 0 and \(max)")
        }
        return value
    }

    private func wrongType(_ key: Key, expected: String) -> ShoalError {
        ShoalError(
            .malformedModel, "\(fileName): \(quoted(key.name)) is not \(expected) (key at byte \(key.entry.lowerBound))"
        )
    }
}

/// A name from a file, fit for a message: in quotes, escaped, at most 80 characters.
func quoted(_ name: String) -> String { String(name.prefix(80)).debugDescription }
