/// A tensor as requests describe it: `rpc_tensor` of ggml-rpc.cpp, packed, 296 bytes.
///
///     0 id u64 | 8 type u32 | 12 buffer u64 | 20 ne 4 x u32 | 36 nb 4 x u32 | 52 op u32 | 56 op_params 16 x i32
///     120 flags i32 | 124 src 10 x u64 | 204 view_src u64 | 212 view_offs u64 | 220 data u64 | 228 name 64
///     292 use_count i32
package struct RPCTensor: Sendable, Hashable {
    package static let byteCount = 296
    package static let nameOffset = 228
    package static let nameByteCount = 64

    /// ggml's number.
    package var type: UInt32
    /// The server's pointer to the tensor's buffer; 0 if it has none yet.
    package var buffer: UInt64
    /// Elements, fastest first; 1 where a dimension is not used.
    package var dimensions: [UInt32]
    package var name: String

    /// `bytes` has at least 296.
    package init(_ bytes: some RandomAccessCollection<UInt8>) {
        type = LittleEndian.read(from: bytes, at: 8)
        buffer = LittleEndian.read(from: bytes, at: 12)
        dimensions = (0..<4).map { LittleEndian.read(from: bytes, at: 20 + 4 * $0) }
        let start = bytes.index(bytes.startIndex, offsetBy: RPCTensor.nameOffset)
        let text = bytes[start...].prefix(RPCTensor.nameByteCount).prefix { $0 != 0 }
        name = String(decoding: Array(text), as: UTF8.self)
    }

    /// What of a tensor the answer to GET_ALLOC_SIZE depends on: type, shape, strides, operation, its parameters and
    /// flags, and whether there is a tensor and whether it has a buffer. The rest is the client's ids and addresses.
    static func sizeQuestion(_ bytes: some RandomAccessCollection<UInt8>) -> [UInt8] {
        func part(_ range: Range<Int>) -> some Collection<UInt8> {
            bytes.dropFirst(range.lowerBound).prefix(range.count)
        }
        var question: [UInt8] = [
            LittleEndian.read(UInt64.self, from: bytes, at: 0) == 0 ? 0 : 1,
            LittleEndian.read(UInt64.self, from: bytes, at: 12) == 0 ? 0 : 1,
        ]
        question.append(contentsOf: part(8..<12))
        question.append(contentsOf: part(20..<124))
        return question
    }
}

/// The front of a SET_TENSOR: the tensor, whether the server should keep the bytes, and where they go in the tensor.
package struct SetTensorHead: Sendable, Hashable {
    package static let byteCount = RPCTensor.byteCount + 1 + 8
    package static let cacheFlagOffset = RPCTensor.byteCount

    package var tensor: RPCTensor
    package var offset: UInt64

    /// `bytes` has at least 305.
    package init(_ bytes: some RandomAccessCollection<UInt8>) {
        tensor = RPCTensor(bytes)
        offset = LittleEndian.read(from: bytes, at: RPCTensor.byteCount + 1)
    }
}
