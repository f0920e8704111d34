package import ShoalCore
import SystemPackage

/// A node's identity on disk: one line in `node-id` inside the data folder, made on first start, readable by its owner.
package enum NodeIdentity {
    private static let fileName = "node-id"
    private static let byteCountMax = 256

    /// Reads the identity, or makes and stores one. Throws `fileUnreadable` when the folder cannot be used, and
    /// refuses a damaged file rather than become somebody else.
    package static func loadOrCreate(in directory: String) throws(ShoalError) -> NodeID {
        let folder = FilePath(directory)
        let file = folder.appending(fileName)
        do {
            return try read(file)
        } catch Errno.noSuchFileOrDirectory {
            return try create(file, in: folder)
        } catch let error as ShoalError {
            throw error
        } catch {
            throw ShoalError(.fileUnreadable, "the node's identity \(file) cannot be read: \(error)")
        }
    }

    private static func read(_ file: FilePath) throws -> NodeID {
        let descriptor = try FileDescriptor.open(file, .readOnly)
        let bytes = try descriptor.closeAfter {
            try [UInt8](unsafeUninitializedCapacity: byteCountMax) { buffer, count in
                count = try descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))
            }
        }
        let text = String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace }
        guard let id = NodeID(text) else {
            throw ShoalError(
                .fileUnreadable, "\(file) does not hold a node id; restore it, or delete it to join as a new node")
        }
        return id
    }

    private static func create(_ file: FilePath, in folder: FilePath) throws(ShoalError) -> NodeID {
        let id = NodeID.random()
        do {
            try NodeFolders.create(folder.string)
            let descriptor = try FileDescriptor.open(
                file, .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
            try descriptor.closeAfter { _ = try descriptor.writeAll(Array("\(id)\n".utf8)) }
        } catch let error as ShoalError {
            throw error
        } catch {
            throw ShoalError(
                .fileUnreadable,
                "the node's identity cannot be stored at \(file): \(error); choose another --data folder")
        }
        return id
    }
}
