internal import CShoalEngine
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

/// A stage's virtual GGUF as a stream for libllama's loader.
///
/// Used on one thread, for the time of a load.
final class VirtualFile {
    private let file: OpaquePointer

    /// Throws `fileUnreadable` when a file cannot be opened.
    init(layout: StageLayout, paths: [String]) throws(ShoalError) {
        var extents: [shoal_extent] = []
        for extent in layout.extents {
            try VirtualFile.requireFile(extent.fileIndex, of: paths)
            extents.append(
                shoal_extent(
                    virtual_offset: UInt64(extent.virtualOffset), byte_count: UInt64(extent.byteCount),
                    file_index: Int32(extent.fileIndex ?? -1), file_offset: UInt64(extent.fileOffset)))
        }
        var error: UnsafeMutablePointer<CChar>?
        let opened = withCStrings(paths) { pointers in
            shoal_virtual_file_open(
                layout.header, layout.header.count, extents, extents.count, UInt64(layout.byteCount), pointers,
                paths.count, &error)
        }
        guard let opened else {
            throw ShoalError(.fileUnreadable, LlamaLibrary.taken(error) ?? "the model's files cannot be opened")
        }
        file = opened
    }

    deinit { shoal_virtual_file_close(file) }

    /// A `FILE *` that this object owns.
    var stream: UnsafeMutablePointer<FILE> { shoal_virtual_file_stream(file) }

    /// Tensor bytes read so far.
    var bytesRead: Int { Int(shoal_virtual_file_bytes_read(file)) }

    /// What went wrong while libllama was reading.
    var readError: String? { shoal_virtual_file_error(file).map { String(cString: $0) } }

    private static func requireFile(_ index: Int?, of paths: [String]) throws(ShoalError) {
        guard let index else { return }
        guard paths.indices.contains(index) else {
            throw ShoalError(.malformedModel, "a tensor lies in file \(index) of a model of \(paths.count) files")
        }
    }
}

/// Runs `body` with the strings as a C array of C strings.
func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
) -> Result {
    let copies = strings.map { strdup($0) }
    defer { copies.forEach { free($0) } }
    let pointers = copies.map { UnsafePointer($0) } + [nil]
    return pointers.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { preconditionFailure("an array with an element has an address") }
        return body(base)
    }
}
