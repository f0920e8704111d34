import ShoalCore
import SystemPackage

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Android)
    import Android
#elseif canImport(Darwin)
    import Darwin
#else
    #error("ShoalNode needs a C library")
#endif

/// The folders of a node below its data folder.
enum NodeFolders {
    /// Makes a folder and its parents, private to the owner. Existing folders are left as they are.
    static func create(_ path: String) throws(ShoalError) {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw ShoalError(.fileUnreadable, "the folder \(path) cannot be made: \(cause(error))")
        }
    }

    /// The system's own words, without Foundation's wrapping.
    private static func cause(_ error: any Error) -> String {
        guard let error = error as? CocoaError, let posix = error.underlying as? POSIXError else { return "\(error)" }
        return Errno(rawValue: posix.code.rawValue).description
    }

    /// Where a node keeps the output of its engines.
    static func engineLogs(in dataDirectory: String) -> String { dataDirectory + "/logs" }
}
