import ShoalCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The folders of a node below its data folder.
enum NodeFolders {
    /// Makes a folder and its parents, private to the owner. Existing folders are left as they are.
    static func create(_ path: String) throws(ShoalError) {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw ShoalError(.fileUnreadable, "the folder \(path) cannot be made: \(error)")
        }
    }

    /// Where a node keeps the output of its engines.
    static func engineLogs(in dataDirectory: String) -> String { dataDirectory + "/logs" }
}
