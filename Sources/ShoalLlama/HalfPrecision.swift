internal import CLlama

/// Activations as IEEE 754 half precision, converted by ggml.
package enum HalfPrecision {
    /// The largest finite value.
    private static let magnitudeMax: Float = 65504

    /// Nil when a value is not finite in half precision: the rows must travel as float32 then.
    package static func encode(_ values: [Float]) -> [UInt16]? {
        guard values.allSatisfy({ abs($0) <= magnitudeMax }) else { return nil }
        return [UInt16](unsafeUninitializedCapacity: values.count) { buffer, count in
            ggml_fp32_to_fp16_row(values, buffer.baseAddress, Int64(values.count))
            count = values.count
        }
    }

    package static func decode(_ halves: [UInt16]) -> [Float] {
        [Float](unsafeUninitializedCapacity: halves.count) { buffer, count in
            ggml_fp16_to_fp32_row(halves, buffer.baseAddress, Int64(halves.count))
            count = halves.count
        }
    }
}
