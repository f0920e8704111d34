package import ShoalCore
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
    #error("rename and fsync are needed from the platform's C library")
#endif

/// A small file that only its owner may read, replaced as a whole or not at all.
package struct SecretFile: Sendable {
    package let path: String

    package init(_ path: String) { self.path = path }

    /// The file's bytes, nil when there is no file. Of one that has more than `byteCountMax`, which none of ours has,
    /// the first `byteCountMax + 1`: whoever decodes them finds it damaged, like any other that is not what it was.
    /// Takes away what group and others may do with the file. Throws `fileUnreadable` for what the system reports.
    package func read(byteCountMax: Int) throws(ShoalError) -> [UInt8]? {
        do {
            let descriptor = try FileDescriptor.open(FilePath(path), .readOnly)
            return try descriptor.closeAfter {
                // Fails only for a file of another owner, which then keeps its mode.
                _ = fchmod(descriptor.rawValue, 0o600)
                return try Self.bytes(of: descriptor, atMost: byteCountMax + 1)
            }
        } catch Errno.noSuchFileOrDirectory {
            return nil
        } catch {
            throw ShoalError(.fileUnreadable, "\(path) cannot be read: \(error)")
        }
    }

    /// Replaces the file with mode 0600. After a crash either the old or the new content is there.
    package func write(_ bytes: [UInt8]) throws(ShoalError) {
        let temporary = path + ".new"
        do {
            // What a crash left behind is of no use, and opening it would keep its mode.
            unlink(temporary)
            let descriptor = try FileDescriptor.open(
                FilePath(temporary), .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
            try descriptor.closeAfter {
                _ = try descriptor.writeAll(bytes)
                guard fsync(descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
            }
            guard rename(temporary, path) == 0 else { throw Errno(rawValue: errno) }
        } catch {
            throw ShoalError(.fileUnreadable, "\(path) cannot be written: \(error); is the disk full?")
        }
    }

    /// Gives the file another name next to it, so that nothing is lost; returns the new path.
    package func moveAside(suffix: String) throws(ShoalError) -> String {
        let target = "\(path).\(suffix)"
        guard rename(path, target) == 0 else {
            throw ShoalError(.fileUnreadable, "\(path) cannot be renamed to \(target): \(Errno(rawValue: errno))")
        }
        return target
    }

    private static func bytes(of descriptor: FileDescriptor, atMost byteCountMax: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        // Ends: every turn reads at least a byte, up to the limit.
        while bytes.count < byteCountMax {
            let chunk = try [UInt8](unsafeUninitializedCapacity: min(65536, byteCountMax - bytes.count)) {
                buffer, count in
                count = try descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))
            }
            guard !chunk.isEmpty else { break }
            bytes += chunk
        }
        return bytes
    }
}
