package import ShoalCore
package import ShoalModel

/// A model opened from disk: its files, in the order of the split, and what they hold.
package struct StoredModel: Sendable {
    package let files: [FileBytes]
    package let index: ModelIndex

    /// Of the first file.
    package var path: String { files[0].path }

    package var byteCount: ByteCount { ByteCount(files.reduce(0) { $0 + $1.byteCount }) }

    /// Opens a model by the path of any of its files; the others of a split model are found beside it by name.
    /// `anyFamily` opens those too that the stages engine cannot run.
    /// - Throws: `fileUnreadable`, `malformedModel`, `unsupportedFamily`; each names the file.
    package static func open(path: String, anyFamily: Bool = false) throws(ShoalError) -> StoredModel {
        var files: [FileBytes] = []
        var headers: [GGUFHeader] = []
        for path in paths(ofModelAt: path) {
            let file = try FileBytes(path: path)
            headers.append(try GGUFHeader.read(file, fileName: path))
            files.append(file)
        }
        return StoredModel(files: files, index: try ModelIndex(headers: headers, anyFamily: anyFamily))
    }

    /// The files of the model that `path` belongs to: itself, or all files of the split its name tells of.
    package static func paths(ofModelAt path: String) -> [String] {
        let (folder, name) = parts(of: path)
        guard let split = SplitFileName(name) else { return [path] }
        return split.all.map { folder + $0 }
    }

    /// The folder with its last slash, or nothing, and the last component.
    private static func parts(of path: String) -> (folder: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return ("", path) }
        return (String(path[...slash]), String(path[path.index(after: slash)...]))
    }
}
