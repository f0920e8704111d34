internal import NIOCore
internal import ShoalCore
internal import ShoalEngine
internal import ShoalLlama
internal import ShoalWire

#if _endian(big)
    #error("payloads are little-endian, and copied as they lie in memory")
#endif

/// Rows of floats to payloads and back.
enum Activations {
    /// Nil when the entries' tokens are the input. The description has been checked against the payload's size.
    static func read(_ description: MicroBatchDescription, _ payload: ByteBuffer) -> [Float]? {
        guard let tensor = description.activations else { return nil }
        switch tensor.elementType {
        case .float32: return elements(payload, zero: Float.zero)
        case .float16: return HalfPrecision.decode(elements(payload, zero: UInt16.zero))
        case .q8: return EightBitBlocks.decode(elements(payload, zero: UInt8.zero))
        }
    }

    /// As `format` says where every value survives that, else as float32. No rows, no description.
    static func write(_ rows: [Float], width: Int, as format: BoundaryFormat) -> (TensorDescription?, ByteBuffer) {
        guard !rows.isEmpty else { return (nil, ByteBuffer()) }
        if format == .f16, let halves = HalfPrecision.encode(rows) {
            return (shape(rows.count / width, width, .float16), halves.withUnsafeBytes { ByteBuffer(bytes: $0) })
        }
        if format == .q8, let blocks = EightBitBlocks.encode(rows, width: width) {
            return (shape(rows.count / width, width, .q8), ByteBuffer(bytes: blocks))
        }
        return (shape(rows.count / width, width, .float32), rows.withUnsafeBytes { ByteBuffer(bytes: $0) })
    }

    private static func shape(
        _ rowCount: Int, _ width: Int, _ type: TensorDescription.ElementType
    ) -> TensorDescription {
        TensorDescription(elementType: type, rowCount: UInt32(rowCount), width: UInt32(width))
    }

    /// Copies: a payload's bytes need not be aligned.
    private static func elements<Element>(_ payload: ByteBuffer, zero: Element) -> [Element] {
        let count = payload.readableBytes / MemoryLayout<Element>.stride
        return [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
            payload.withUnsafeReadableBytes { UnsafeMutableRawBufferPointer(buffer).copyMemory(from: $0) }
            initialized = count
        }
    }
}
