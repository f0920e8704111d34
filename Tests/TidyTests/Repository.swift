import Foundation

/// The files of the repository that this test was built from, without git: what `.gitignore` names is skipped.
struct Repository {
    let root: URL
    private let ignored: [String]

    /// `filePath` of a file two folders below the root.
    init(filePath: String = #filePath) {
        root = URL(filePath: filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = (try? String(contentsOf: root.appending(path: ".gitignore"), encoding: .utf8)) ?? ""
        ignored = text.split(separator: "\n").map { $0.hasSuffix("/") ? String($0.dropLast()) : String($0) }
    }

    /// Names in the root.
    func rootEntries() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.path).filter { !isSkipped($0) }.sorted()
    }

    /// Every folder below the root, as paths from it.
    func folders() throws -> [String] { try entries().filter(\.isFolder).map(\.path) }

    /// Every file that is UTF-8 text.
    func textFiles() throws -> [SourceFile] {
        try entries().filter { !$0.isFolder }.compactMap { entry in
            // Binary files (images) are no text and have no rules.
            guard let text = try? String(contentsOf: root.appending(path: entry.path), encoding: .utf8) else {
                return nil
            }
            return SourceFile(path: entry.path, text: text)
        }
    }

    private func entries(in folder: String = "") throws -> [(path: String, isFolder: Bool)] {
        let names = try FileManager.default.contentsOfDirectory(atPath: root.appending(path: folder).path).sorted()
        return try names.filter { !isSkipped($0) }.flatMap { name -> [(path: String, isFolder: Bool)] in
            let path = folder.isEmpty ? name : "\(folder)/\(name)"
            let values = try root.appending(path: path).resourceValues(forKeys: [.isDirectoryKey, .isSymbolicLinkKey])
            guard values.isDirectory == true, values.isSymbolicLink != true else { return [(path, false)] }
            return [(path, true)] + (try entries(in: path))
        }
    }

    /// `.gitignore` here holds plain names and `*.extension` only.
    private func isSkipped(_ name: String) -> Bool {
        if name == ".git" || name.hasPrefix(".build") { return true }
        return ignored.contains { pattern in
            pattern.hasPrefix("*") ? name.hasSuffix(pattern.dropFirst()) : name == pattern
        }
    }
}
