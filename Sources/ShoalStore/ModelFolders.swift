package import ShoalCore
import ShoalModel

/// The folders in which a node looks for models, in order.
package struct ModelFolders: Sendable {
    /// One model found in a folder.
    package struct Entry: Sendable, Hashable {
        /// The file name without ".gguf", and without the numbers of a split.
        package var name: String
        /// Of the first file.
        package var path: String
    }

    /// Folders inside folders that are looked into.
    package static let depthMax = 3
    /// Directory entries that are looked at in all folders together.
    package static let entryCountMax = 20_000

    package let paths: [String]

    /// `paths` need not exist.
    package init(paths: [String]) { self.paths = paths }

    /// Every model in the folders, in the order of the folders, then by name.
    package func models() -> [Entry] {
        var left = ModelFolders.entryCountMax
        var entries: [Entry] = []
        for path in paths {
            let found = ModelFolders.scan(path, depth: 0, left: &left)
            entries += found.sorted { ($0.name, $0.path) < ($1.name, $1.path) }
        }
        return entries
    }

    /// The path of a model that a person named: a path to a file, or a name in one of the folders, with or without
    /// ".gguf". The first folder that has it wins.
    /// - Throws: `modelNotFound` that says where it looked and what is there.
    package func path(of model: String) throws(ShoalError) -> String {
        if model.contains("/") { return model }
        let name = model.hasSuffix(".gguf") ? String(model.dropLast(5)) : model
        let plainName = SplitFileName(model)?.prefix ?? name
        let models = models()
        if let entry = models.first(where: { $0.name == plainName }) { return entry.path }
        // A file in the working folder, named without "./".
        if (try? FileBytes(path: model)) != nil { return model }
        throw ShoalError(.modelNotFound, "no model is named \"\(model)\": \(ModelFolders.describe(models, paths))")
    }

    private static func describe(_ models: [Entry], _ paths: [String]) -> String {
        guard !paths.isEmpty else { return "no model folder is configured; give a path" }
        let folders = paths.joined(separator: ", ")
        guard !models.isEmpty else { return "\(folders) holds no GGUF file; give a path" }
        let names = models.prefix(20).map(\.name).joined(separator: ", ")
        return "\(folders) holds \(names)\(models.count > 20 ? " and \(models.count - 20) more" : "")"
    }

    private static func scan(_ folder: String, depth: Int, left: inout Int) -> [Entry] {
        var entries: [Entry] = []
        for item in Directory.entries(of: folder, countMax: left) {
            left -= 1
            let path = folder.hasSuffix("/") ? folder + item : "\(folder)/\(item)"
            if item.hasSuffix(".gguf") {
                if let entry = entry(name: item, path: path) { entries.append(entry) }
            } else if depth < depthMax, !item.hasPrefix("."), Directory.isFolder(path) {
                entries += scan(path, depth: depth + 1, left: &left)
            }
        }
        return entries
    }

    /// Nil for the later files of a split.
    private static func entry(name: String, path: String) -> Entry? {
        guard let split = SplitFileName(name) else { return Entry(name: String(name.dropLast(5)), path: path) }
        return split.number == 1 ? Entry(name: split.prefix, path: path) : nil
    }
}
