/// Stands for up to 1 MiB of one weight: what the bytes are, and where to look for them first.
package struct PieceReference: Sendable, Hashable {
    /// Decides alone whether bytes are the right ones.
    package var digest: ContentDigest
    package var span: PieceSpan

    package init(digest: ContentDigest, span: PieceSpan) {
        self.digest = digest
        self.span = span
    }
}

/// Which bytes of which weight a piece is.
package struct PieceSpan: Sendable, Hashable {
    /// Pieces are cut at multiples of this from the start of a tensor, so that equal tensors have equal pieces.
    package static let byteCountMax = 1 << 20
    /// What is smaller travels: a reference would hardly be shorter.
    package static let byteCountMin = 4 << 10

    package var tensorName: String
    /// ggml's number.
    package var type: UInt32
    /// Of the whole tensor.
    package var tensorByteCount: UInt64
    /// From the start of the tensor.
    package var offset: UInt64
    package var byteCount: Int

    package init(tensorName: String, type: UInt32, tensorByteCount: UInt64, offset: UInt64, byteCount: Int) {
        self.tensorName = tensorName
        self.type = type
        self.tensorByteCount = tensorByteCount
        self.offset = offset
        self.byteCount = byteCount
    }

    /// The size of the piece that begins at `offset` of a write that ends at `end`.
    static func byteCount(at offset: UInt64, end: UInt64) -> Int {
        let size = UInt64(byteCountMax)
        return Int(min(size - offset % size, end - offset))
    }
}
