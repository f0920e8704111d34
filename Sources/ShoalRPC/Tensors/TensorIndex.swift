package import ShoalModel

/// The tensors of GGUF files by name: which bytes could be a weight, and where a weight's bytes could lie.
///
/// It reads tensor lists only, so it serves families that have no recipe. Several models may be in one index, and one
/// name several times.
package struct TensorIndex: Sendable {
    /// Where a tensor lies.
    package struct Place: Sendable, Hashable {
        /// Index into the headers that the index was made from.
        package var fileIndex: Int
        package var fileOffset: Int
        package var byteCount: Int
        /// ggml's number.
        package var type: UInt32
    }

    private let places: [String: [Place]]

    package init(headers: [GGUFHeader]) {
        var places: [String: [Place]] = [:]
        for (fileIndex, header) in headers.enumerated() {
            for tensor in header.tensors {
                let place = Place(
                    fileIndex: fileIndex, fileOffset: tensor.fileOffset, byteCount: tensor.byteCount,
                    type: tensor.type.rawValue)
                places[tensor.name, default: []].append(place)
            }
        }
        self.places = places
    }

    /// Tensors that could hold a piece, by their names, types and sizes alone.
    package func places(for span: PieceSpan) -> [Place] {
        guard let end = span.end else { return [] }
        return (places[span.tensorName] ?? []).filter { place in
            place.type == span.type && UInt64(place.byteCount) == span.tensorByteCount && end <= place.byteCount
        }
    }

    /// Whether `byteCount` bytes at the offset of `head` are, by name, type and size, a write to a weight of the model;
    /// then the size of that weight.
    func weightByteCount(_ head: SetTensorHead, byteCount: UInt64) -> UInt64? {
        guard let size = head.tensor.contiguousByteCount else { return nil }
        let isKnown = places[head.tensor.name]?.contains { $0.type == head.tensor.type && $0.byteCount == size }
        guard isKnown == true else { return nil }
        let (end, overflow) = head.offset.addingReportingOverflow(byteCount)
        return !overflow && end <= UInt64(size) ? UInt64(size) : nil
    }
}

extension PieceSpan {
    /// Where it ends in the tensor; nil for numbers that make no sense.
    fileprivate var end: Int? {
        guard byteCount > 0, let offset = Int(exactly: offset) else { return nil }
        let (end, overflow) = offset.addingReportingOverflow(byteCount)
        return overflow ? nil : end
    }
}

extension RPCTensor {
    /// Bytes of a contiguous tensor of this type and shape; nil if there is none.
    fileprivate var contiguousByteCount: Int? {
        GGMLType(rawValue: type)?.byteCount(dimensions: dimensions.map(Int.init))
    }
}
