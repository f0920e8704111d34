import Foundation
import Testing

/// A control group with a memory limit, below the one of this process, for a node and its engines. Linux, root.
struct MemoryGroup {
    private let folder: URL

    /// Nil where no such group can be made.
    init?(byteCountMax: Int) {
        guard let own = Self.ownFolder else { return nil }
        folder = own.path.appending(path: "shoal-test-\(UUID().uuidString)")
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
            try Data("\(byteCountMax)".utf8).write(to: folder.appending(path: own.limit), options: [])
        } catch {
            rmdir(folder.path)
            return nil
        }
    }

    static func reportImpossible() { print("skipped: no control group with a memory limit can be made here") }

    /// A command that enters the group and then becomes the node.
    var wrapper: [String] {
        ["sh", "-c", "echo $$ > '\(folder.path)/cgroup.procs' && exec \"$@\"", "sh"]
    }

    /// Once nobody is in it.
    func remove() { rmdir(folder.path) }

    /// Version 1 has a tree per controller, version 2 one for all.
    private static var ownFolder: (path: URL, limit: String)? {
        guard let groups = try? String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8) else { return nil }
        let fields = groups.split(separator: "\n").map { $0.split(separator: ":", omittingEmptySubsequences: false) }
        if let one = fields.first(where: { $0.count == 3 && $0[1] == "memory" }) {
            return (URL(filePath: "/sys/fs/cgroup/memory\(one[2])"), "memory.limit_in_bytes")
        }
        guard let two = fields.first(where: { $0.count == 3 && $0[0] == "0" }) else { return nil }
        return (URL(filePath: "/sys/fs/cgroup\(two[2])"), "memory.max")
    }
}
