import Foundation
import ShoalTesting
import Testing

/// A disk of 256 KiB under a node's data folder, in a mount namespace that only that node sees. Linux.
struct TinyDisk {
    private static let byteCount = 256 << 10
    /// The disk as this process sees it: through the node's own view of the files.
    private let folder: URL

    init(of node: NodeProcess) {
        folder = URL(filePath: "/proc/\(node.processID)/root\(node.directory.path)")
    }

    /// Whether this machine lets us mount one.
    static let isPossible: Bool = {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = unshare + ["true"]
        process.standardError = FileHandle.nullDevice
        let end = ProcessEnd(of: process)
        do { try process.run() } catch { return false }
        return end.wait() && process.terminationStatus == 0
    }()

    static func reportImpossible() {
        print("skipped: this machine lets nobody mount a disk of its own (unshare --mount)")
    }

    /// Users who are not root get a user namespace of their own for it.
    private static var unshare: [String] {
        getuid() == 0 ? ["unshare", "--mount"] : ["unshare", "--mount", "--map-root-user"]
    }

    /// A command that mounts the disk and then becomes the node. `copying` is a data folder to begin with.
    static func wrapper(mountedAt folder: URL, copying original: URL? = nil, isFull: Bool = false) -> [String] {
        var script = "folder=$1; original=$2; shift 2; mount -t tmpfs -o size=\(byteCount) tmpfs \"$folder\""
        if original != nil { script += " && cp \"$original\"/node-key \"$original\"/cluster \"$folder\"" }
        if isFull { script += "; cat /dev/zero > \"$folder\"/filler 2>/dev/null" }
        script += "; exec \"$@\""
        return unshare + ["sh", "-c", script, "sh", folder.path, original?.path ?? ""]
    }

    func fill() throws {
        let filler = folder.appending(path: "filler")
        try Data().write(to: filler)
        let handle = try FileHandle(forWritingTo: filler)
        defer { try? handle.close() }
        // Ends when the disk is full, down to the last byte.
        for size in [4096, 64, 1] {
            while (try? handle.write(contentsOf: Data(count: size))) != nil {}
        }
    }

    func free() throws { try FileManager.default.removeItem(at: folder.appending(path: "filler")) }

    func text(of file: String) throws -> String {
        try String(contentsOf: folder.appending(path: file), encoding: .utf8)
    }
}
