internal import CLlama

/// Activations as ggml's Q8_0: blocks of 32 values, a float16 scale and 32 signed bytes each.
package enum EightBitBlocks {
    private static let blockElementCount = 32
    private static let blockByteCount = 34
    /// The scale is a 127th of a block's largest magnitude, and must be finite in half precision.
    private static let magnitudeMax: Float = 65504 * 127

    /// Nil when rows of `width` are not whole blocks, or a value fits no scale: the rows must travel as float32 then.
    package static func encode(_ values: [Float], width: Int) -> [UInt8]? {
        guard width % blockElementCount == 0, values.count % width == 0,
            values.allSatisfy({ abs($0) <= magnitudeMax })
        else { return nil }
        let byteCount = values.count / blockElementCount * blockByteCount
        return [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            count = ggml_quantize_chunk(
                GGML_TYPE_Q8_0, values, buffer.baseAddress, 0, Int64(values.count / width), Int64(width), nil)
        }
    }

    /// `blocks` are whole blocks.
    package static func decode(_ blocks: [UInt8]) -> [Float] {
        let elementCount = blocks.count / blockByteCount * blockElementCount
        return [Float](unsafeUninitializedCapacity: elementCount) { buffer, count in
            ggml_get_type_traits(GGML_TYPE_Q8_0).pointee.to_float(blocks, buffer.baseAddress, Int64(elementCount))
            count = elementCount
        }
    }
}
