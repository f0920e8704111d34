internal import CLlama
internal import ShoalCore
internal import ShoalModel

#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#else
    #error("a C library is needed")
#endif

/// Token ids to input rows: reads the token's row of `token_embd.weight` and dequantizes it, bit for bit as
/// `ggml_get_rows` does. Rows are read when they are needed; the operating system's page cache keeps the frequent ones.
final class TokenEmbedding {
    private let embedding: StageLayout.Embedding
    private let width: Int
    private let descriptor: Int32
    private let convert: (@convention(c) (UnsafeRawPointer?, UnsafeMutablePointer<Float>?, Int64) -> Void)?
    private var row: [UInt8]

    /// Throws `malformedModel` when the rows' type or size does not fit the width, `fileUnreadable` when the file
    /// cannot be opened.
    init(_ embedding: StageLayout.Embedding, paths: [String], width: Int) throws(ShoalError) {
        let type = try TokenEmbedding.checkedType(embedding, width: width)
        guard paths.indices.contains(embedding.fileIndex) else {
            throw ShoalError(.malformedModel, "token_embd.weight lies in file \(embedding.fileIndex) of \(paths.count)")
        }
        convert = type == GGML_TYPE_F32 ? nil : ggml_get_type_traits(type).pointee.to_float
        guard type == GGML_TYPE_F32 || convert != nil else {
            throw ShoalError(.malformedModel, "ggml type \(embedding.ggmlType) of token_embd.weight has no conversion")
        }
        let path = paths[embedding.fileIndex]
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw ShoalError(.fileUnreadable, "open \(path): \(String(cString: strerror(errno)))")
        }
        self.embedding = embedding
        self.width = width
        row = [UInt8](repeating: 0, count: embedding.rowByteCount)
    }

    deinit { close(descriptor) }

    var tokenCount: Int { embedding.rowCount }

    /// Writes `width` floats. Throws `invalidRequest` for a token outside the table.
    func write(_ token: TokenID, to destination: UnsafeMutablePointer<Float>) throws(ShoalError) {
        guard (0..<embedding.rowCount).contains(Int(token.rawValue)) else {
            throw ShoalError(
                .invalidRequest, "token \(token) is outside the vocabulary of \(embedding.rowCount) tokens")
        }
        try read(Int(token.rawValue))
        row.withUnsafeBytes { bytes in
            if let convert {
                convert(bytes.baseAddress, destination, Int64(width))
            } else {
                UnsafeMutableRawPointer(destination).copyMemory(
                    from: bytes.baseAddress ?? .init(destination), byteCount: bytes.count)
            }
        }
        guard embedding.scale != 1 else { return }
        for index in 0..<width { destination[index] *= embedding.scale }
    }

    private func read(_ index: Int) throws(ShoalError) {
        let start = embedding.fileOffset + index * embedding.rowByteCount
        var done = 0
        while done < row.count {
            let result = row.withUnsafeMutableBytes { bytes in
                pread(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, off_t(start + done))
            }
            if result < 0 && errno == EINTR { continue }
            guard result > 0 else {
                let reason = result < 0 ? String(cString: strerror(errno)) : "the file ends before"
                throw ShoalError(.fileUnreadable, "row \(index) of token_embd.weight at byte \(start): \(reason)")
            }
            done += result
        }
    }

    /// ggml asserts on what is checked here.
    private static func checkedType(
        _ embedding: StageLayout.Embedding, width: Int
    ) throws(ShoalError) -> ggml_type {
        guard embedding.ggmlType < GGML_TYPE_COUNT.rawValue else {
            throw ShoalError(.malformedModel, "token_embd.weight has the unknown ggml type \(embedding.ggmlType)")
        }
        let type = ggml_type(rawValue: embedding.ggmlType)
        let blockSize = ggml_blck_size(type)
        guard blockSize > 0, width > 0, Int64(width) % blockSize == 0,
            ggml_row_size(type, Int64(width)) == embedding.rowByteCount, embedding.rowCount > 0,
            embedding.fileOffset >= 0
        else {
            throw ShoalError(
                .malformedModel,
                "rows of token_embd.weight: \(embedding.rowByteCount) bytes of ggml type \(embedding.ggmlType) "
                    + "are not \(width) elements"
            )
        }
        return type
    }
}
