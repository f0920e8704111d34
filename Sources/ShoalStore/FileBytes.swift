package import ShoalCore
import ShoalModel
import SystemPackage

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#else
    #error("this platform's C library is not known")
#endif

/// A regular file opened for reading anywhere in it. Reads block, and may run on several threads at once.
///
/// The file is closed when the last reference goes.
package final class FileBytes: RandomAccessBytes {
    package let path: String
    /// When it was opened.
    package let byteCount: Int
    private let descriptor: FileDescriptor

    /// - Throws: `fileUnreadable` that says why: missing, a directory, no permission.
    package init(path: String) throws(ShoalError) {
        let descriptor: FileDescriptor
        do {
            // Non-blocking: opening a named pipe by mistake must not wait for a writer.
            descriptor = try FileDescriptor.open(FilePath(path), .readOnly, options: [.closeOnExec, .nonBlocking])
        } catch {
            throw ShoalError(.fileUnreadable, "\(path): \(error)")
        }
        do {
            byteCount = try FileBytes.byteCount(of: descriptor, path: path)
        } catch {
            try? descriptor.close()
            throw error
        }
        self.path = path
        self.descriptor = descriptor
    }

    deinit { try? descriptor.close() }

    package func read(offset: Int, count: Int) throws(ShoalError) -> [UInt8] {
        guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
            throw ShoalError(
                .malformedModel, "\(path): the file ends at byte \(byteCount); \(count) bytes at \(offset) are missing")
        }
        do {
            return try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                try read(
                    into: UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[..<count]),
                    offset: offset)
                filled = count
            }
        } catch let error as ShoalError {
            throw error
        } catch {
            throw ShoalError(.fileUnreadable, "\(path): reading \(count) bytes at \(offset): \(error)")
        }
    }

    /// Fills `buffer` from `offset`. For callers that bring their own memory.
    /// - Throws: `malformedModel` if the file became shorter, `fileUnreadable` on I/O errors.
    package func read(into buffer: UnsafeMutableRawBufferPointer, offset: Int) throws(ShoalError) {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count: Int
            do {
                count = try descriptor.read(fromAbsoluteOffset: Int64(offset + done), into: rest)
            } catch {
                throw ShoalError(.fileUnreadable, "\(path): reading at byte \(offset + done): \(error)")
            }
            guard count > 0 else {
                throw ShoalError(
                    .malformedModel,
                    "\(path): the file became shorter while it was read; it ends at byte \(offset + done)")
            }
            done += count
        }
    }

    private static func byteCount(of descriptor: FileDescriptor, path: String) throws(ShoalError) -> Int {
        var status = stat()
        guard fstat(descriptor.rawValue, &status) == 0 else {
            throw ShoalError(.fileUnreadable, "\(path): \(Errno(rawValue: errno))")
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: return Int(status.st_size)
        case S_IFDIR: throw ShoalError(.fileUnreadable, "\(path) is a folder; name the GGUF file in it")
        default: throw ShoalError(.fileUnreadable, "\(path) is not a regular file")
        }
    }
}
