/// Numbers as they lie in an RPC stream.
enum LittleEndian {
    /// The number at `offset`; the caller has checked that its bytes are there.
    static func read<Number: FixedWidthInteger>(
        _ type: Number.Type = Number.self, from bytes: some RandomAccessCollection<UInt8>, at offset: Int
    ) -> Number {
        var value = Number.zero
        let start = bytes.index(bytes.startIndex, offsetBy: offset)
        for (position, byte) in bytes[start...].prefix(MemoryLayout<Number>.size).enumerated() {
            value |= Number(truncatingIfNeeded: byte) << Number(position * 8)
        }
        return value
    }

    static func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
    }
}
