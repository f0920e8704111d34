package import ShoalCore

extension GGUFHeader {
    /// Reads a header piece by piece, never past it by more than one piece.
    ///
    /// Little-endian files of version 2 and 3, with the same rules as the pinned llama.cpp (gguf.cpp,
    /// `gguf_init_from_reader`): unique names, no nested arrays, tensor data without gaps in the order of the
    /// descriptions. Every number is checked before anything is allocated for it.
    /// - Parameter fileName: for messages.
    /// - Throws: `malformedModel` that says which file, what, and at which byte; what `source` throws.
    package static func read(_ source: some RandomAccessBytes, fileName: String) throws(ShoalError) -> GGUFHeader {
        var reader = GGUFHeaderReader(source: source, fileName: fileName)
        return try reader.read()
    }
}

/// One pass over a header.
private struct GGUFHeaderReader<Source: RandomAccessBytes> {
    private let source: Source
    private let fileName: String
    private var bytes: [UInt8] = []
    private var offset = 0
    /// What is being read, for messages.
    private var place = "the header"

    init(source: Source, fileName: String) {
        self.source = source
        self.fileName = fileName
    }

    mutating func read() throws(ShoalError) -> GGUFHeader {
        let version = try readPreamble()
        let tensorCount = try count(max: GGUFLimits.tensorCountMax, of: "tensors")
        let keyCount = try count(max: GGUFLimits.keyCountMax, of: "keys")
        let keys = try readKeys(keyCount)
        let alignment = try readAlignment(keys)
        let descriptions = try readDescriptions(tensorCount)
        if tensorCount > 0 { try skipPadding(alignment) }
        let tensors = try place(descriptions, alignment: alignment)
        bytes.removeSubrange(offset...)
        return GGUFHeader(
            fileName: fileName, fileByteCount: source.byteCount, version: version, alignment: alignment, keys: keys,
            tensors: tensors, bytes: bytes)
    }

    // MARK: Parts

    private mutating func readPreamble() throws(ShoalError) -> UInt32 {
        guard source.byteCount > 0 else { throw ShoalError(.malformedModel, "\(fileName): the file is empty") }
        try require(4)
        guard bytes.starts(with: Array("GGUF".utf8)) else {
            let found = String(decoding: bytes.prefix(4), as: UTF8.self)
            throw malformed("not a GGUF file: it begins with \(quoted(found)) instead of \"GGUF\"", at: 0)
        }
        offset = 4
        let version = try uint32()
        if version & 0xFFFF == 0 {
            throw malformed("a big-endian GGUF (version field \(version)); convert it to little-endian", at: 4)
        }
        guard version == 2 || version == 3 else {
            throw malformed("GGUF version \(version) is not supported; versions 2 and 3 are", at: 4)
        }
        return version
    }

    private mutating func readKeys(_ keyCount: Int) throws(ShoalError) -> [GGUFHeader.Key] {
        var keys: [GGUFHeader.Key] = []
        var names: Set<String> = []
        for number in 0..<keyCount {
            place = "key \(number)"
            let start = offset
            let name = try name(byteCountMax: GGUFLimits.keyByteCountMax)
            place = "the value of \(quoted(name))"
            guard !name.isEmpty else { throw malformed("key \(number) has an empty name", at: start) }
            guard names.insert(name).inserted else {
                throw malformed("the key \(quoted(name)) is there twice", at: start)
            }
            keys.append(try readValue(name: name, start: start))
        }
        return keys
    }

    private mutating func readValue(name: String, start: Int) throws(ShoalError) -> GGUFHeader.Key {
        let type = try valueType()
        guard type == .array else {
            let value = try skipValue(type)
            return GGUFHeader.Key(
                name: name, type: type, elementType: type, elementCount: 1, entry: start..<offset, value: value)
        }
        let elementType = try valueType()
        let elementCount = try count(max: GGUFLimits.arrayElementCountMax, of: "elements")
        let value = try skipElements(elementType, elementCount)
        return GGUFHeader.Key(
            name: name, type: .array, elementType: elementType, elementCount: elementCount, entry: start..<offset,
            value: value)
    }

    private mutating func skipValue(_ type: GGUFValueType) throws(ShoalError) -> Range<Int> {
        guard let size = type.byteCount else { return try skipString(byteCountMax: GGUFLimits.stringByteCountMax) }
        let start = offset
        try skip(size)
        return start..<offset
    }

    private mutating func skipElements(_ type: GGUFValueType, _ elementCount: Int) throws(ShoalError) -> Range<Int> {
        let start = offset
        switch type {
        case .array: throw malformed("\(place) is an array of arrays, which llama.cpp does not read", at: start)
        case .string:
            guard elementCount <= (source.byteCount - offset) / 8 else { throw truncated() }
            for _ in 0..<elementCount { _ = try skipString(byteCountMax: GGUFLimits.stringByteCountMax) }
        default: try skip(elementCount * (type.byteCount ?? 0))
        }
        return start..<offset
    }

    private func readAlignment(_ keys: [GGUFHeader.Key]) throws(ShoalError) -> Int {
        guard let key = keys.first(where: { $0.name == "general.alignment" }) else { return 32 }
        let at = key.entry.lowerBound
        guard key.type == .uint32 else { throw malformed("general.alignment is not a 32-bit unsigned integer", at: at) }
        let alignment = bytes[key.value].reversed().reduce(0) { $0 << 8 | Int($1) }
        guard alignment > 0, alignment & (alignment - 1) == 0, alignment <= GGUFLimits.alignmentMax else {
            throw malformed("the alignment \(alignment) is not a power of two up to \(GGUFLimits.alignmentMax)", at: at)
        }
        return alignment
    }

    /// A tensor before its place in the file is known.
    private struct Description {
        var name: String
        var dimensions: [Int]
        var type: GGMLType
        var byteCount: Int
        var dataOffset: UInt64
        var start: Int
    }

    private mutating func readDescriptions(_ tensorCount: Int) throws(ShoalError) -> [Description] {
        var descriptions: [Description] = []
        var names: Set<String> = []
        for number in 0..<tensorCount {
            place = "the description of tensor \(number)"
            let start = offset
            let name = try name(byteCountMax: GGUFLimits.tensorNameByteCountMax)
            place = "the description of tensor \(quoted(name))"
            guard names.insert(name).inserted else {
                throw malformed("the tensor \(quoted(name)) is there twice", at: start)
            }
            descriptions.append(try readDescription(name: name, start: start))
        }
        return descriptions
    }

    private mutating func readDescription(name: String, start: Int) throws(ShoalError) -> Description {
        let dimensionCount = try uint32()
        guard (1...GGUFLimits.dimensionCountMax).contains(Int(dimensionCount)) else {
            throw malformed("tensor \(quoted(name)) has \(dimensionCount) dimensions; 1 to 4 are possible", at: start)
        }
        var dimensions: [Int] = []
        for _ in 0..<dimensionCount {
            guard let size = Int(exactly: try uint64()), size > 0 else {
                throw malformed("tensor \(quoted(name)) has a dimension that is zero or too large", at: start)
            }
            dimensions.append(size)
        }
        let number = try uint32()
        guard let type = GGMLType(rawValue: number) else {
            throw malformed(
                "tensor \(quoted(name)) has element type \(number), which this ggml does not know", at: start)
        }
        guard let byteCount = type.byteCount(dimensions: dimensions) else {
            let shape = dimensions.map(String.init).joined(separator: " x ")
            throw malformed("tensor \(quoted(name)) of type \(type) cannot have the shape \(shape)", at: start)
        }
        return Description(
            name: name, dimensions: dimensions, type: type, byteCount: byteCount, dataOffset: try uint64(), start: start
        )
    }

    /// Checks that the tensors follow each other without gaps and end inside the file.
    private func place(_ descriptions: [Description], alignment: Int) throws(ShoalError) -> [GGUFHeader.Tensor] {
        var tensors: [GGUFHeader.Tensor] = []
        tensors.reserveCapacity(descriptions.count)
        var expected = 0
        for item in descriptions {
            guard item.dataOffset == UInt64(expected) else {
                throw malformed(
                    "the data of tensor \(quoted(item.name)) is said to be at \(item.dataOffset), "
                        + "but belongs at \(expected)",
                    at: item.start)
            }
            let (end, overflow) = expected.addingReportingOverflow(item.byteCount)
            guard !overflow, end <= source.byteCount - offset else {
                throw malformed(
                    "the file ends at byte \(source.byteCount), inside the data of tensor \(quoted(item.name)), "
                        + "\(item.byteCount) bytes from \(offset + expected): copy or download it again",
                    at: item.start)
            }
            tensors.append(
                GGUFHeader.Tensor(
                    name: item.name, dimensions: item.dimensions, type: item.type, byteCount: item.byteCount,
                    fileOffset: offset + expected))
            expected = aligned(end, to: alignment)
        }
        return tensors
    }

    private mutating func skipPadding(_ alignment: Int) throws(ShoalError) {
        place = "the padding before the tensor data"
        try skip(aligned(offset, to: alignment) - offset)
    }

    // MARK: Bytes

    private mutating func uint32() throws(ShoalError) -> UInt32 { UInt32(littleEndian: try integer()) }

    private mutating func uint64() throws(ShoalError) -> UInt64 { UInt64(littleEndian: try integer()) }

    /// As it lies in the file. At once and not byte by byte: vocabularies have a length before each of their words.
    private mutating func integer<Value: FixedWidthInteger>() throws(ShoalError) -> Value {
        let byteCount = MemoryLayout<Value>.size
        try require(byteCount)
        defer { offset += byteCount }
        return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: Value.self) }
    }

    private mutating func valueType() throws(ShoalError) -> GGUFValueType {
        let at = offset
        let number = try uint32()
        guard let type = GGUFValueType(rawValue: number) else {
            throw malformed("\(place) has the unknown type \(number)", at: at)
        }
        return type
    }

    private mutating func count(max: Int, of what: String) throws(ShoalError) -> Int {
        let at = offset
        let value = try uint64()
        guard value <= UInt64(max) else {
            throw malformed("\(place) claims \(value) \(what); the limit is \(max)", at: at)
        }
        return Int(value)
    }

    private mutating func skipString(byteCountMax: Int) throws(ShoalError) -> Range<Int> {
        let length = try count(max: byteCountMax, of: "bytes of text")
        let start = offset
        try skip(length)
        return start..<offset
    }

    private mutating func name(byteCountMax: Int) throws(ShoalError) -> String {
        let at = offset
        let range = try skipString(byteCountMax: byteCountMax)
        guard let name = String(validating: bytes[range], as: UTF8.self) else {
            throw malformed("the name of \(place) is not UTF-8", at: at)
        }
        return name
    }

    private mutating func skip(_ byteCount: Int) throws(ShoalError) {
        try require(byteCount)
        offset += byteCount
    }

    /// Makes `byteCount` bytes from `offset` available.
    private mutating func require(_ byteCount: Int) throws(ShoalError) {
        guard byteCount <= source.byteCount - offset else { throw truncated() }
        let end = offset + byteCount
        guard end <= GGUFLimits.headerByteCountMax else {
            throw malformed("the header is longer than \(GGUFLimits.headerByteCountMax) bytes", at: offset)
        }
        while bytes.count < end {
            let ahead = min(max(bytes.count, GGUFLimits.readByteCountMin), GGUFLimits.readByteCountMax)
            let count = min(max(ahead, end - bytes.count), source.byteCount - bytes.count)
            let piece = try source.read(offset: bytes.count, count: count)
            guard piece.count == count else { throw truncated() }
            bytes += piece
        }
    }

    private func truncated() -> ShoalError {
        malformed("the file ends at byte \(source.byteCount), inside \(place): copy or download it again", at: offset)
    }

    private func malformed(_ what: String, at byte: Int) -> ShoalError {
        ShoalError(.malformedModel, "\(fileName): \(what) (at byte \(byte))")
    }
}

/// The next multiple of `alignment`, a power of two.
func aligned(_ offset: Int, to alignment: Int) -> Int { (offset + alignment - 1) & ~(alignment - 1) }
