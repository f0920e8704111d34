/// What activations between two stages are on the wire.
package enum BoundaryFormat: String, Sendable, Codable, CaseIterable {
    /// As they were computed: the split model answers bit for bit like the whole one.
    case f32
    /// Half precision, half the bytes. Rows with a value that half precision cannot hold travel as f32.
    case f16
    /// Blocks of 32 values that share a scale, a bit more than a quarter of the bytes; changes answers slightly.
    /// Widths that are no multiple of 32, and values that no scale fits, travel as f32.
    case q8
}
