import NIOPosix
import ShoalCore
import ShoalModel
import ShoalStore

/// The models that this node can read. Files are read on a thread pool, never on the cooperative pool or the data loop.
struct ModelLibrary: Sendable {
    private let folders: ModelFolders

    init(folders: [String]) { self.folders = ModelFolders(paths: folders) }

    /// Opens a model by path or by name in the model folders.
    @concurrent func open(_ model: String) async throws(ShoalError) -> OpenedModel {
        let folders = folders
        return try await Self.onFileThread { () throws(ShoalError) in
            let path = try folders.path(of: model)
            var stagesProblem: ShoalError?
            let stored: StoredModel
            do throws(ShoalError) {
                stored = try StoredModel.open(path: path)
            } catch {
                guard error.code == .unsupportedFamily else { throw error }
                stagesProblem = error
                stored = try StoredModel.open(path: path, anyFamily: true)
            }
            return OpenedModel(
                reference: ModelReference(
                    name: Self.name(ofFile: stored.path), path: stored.path,
                    fingerprint: try ModelFingerprint(of: stored)),
                shape: stored.index.shape, stagesProblem: stagesProblem)
        }
    }

    /// Opens a draft model by path or by name. Where the path that another node knows leads nowhere, a model of the
    /// same name in the folders is taken. Throws `invalidRequest` when its vocabulary is another one than the model's.
    @concurrent func openDraft(_ draft: String, for model: OpenedModel) async throws(ShoalError) -> OpenedModel {
        let opened: OpenedModel
        do throws(ShoalError) {
            opened = try await open(draft)
        } catch {
            guard error.code == .fileUnreadable, draft.contains("/"),
                let found = try? await open(Self.name(ofFile: draft))
            else { throw error }
            opened = found
        }
        if let problem = opened.stagesProblem { throw problem }
        let paths = (draft: opened.reference.path, model: model.reference.path)
        try await Self.onFileThread { () throws(ShoalError) in
            let (draft, model) = (try StoredModel.open(path: paths.draft), try StoredModel.open(path: paths.model))
            try VocabularyComparison.requireSame(draft: draft.index.headers[0], model: model.index.headers[0])
        }
        return opened
    }

    /// Where this node's own copy of a model lies. Throws `fileUnreadable` that names the node and what was looked for.
    @concurrent func path(of model: ModelReference, nodeName: String) async throws(ShoalError) -> String {
        let folders = folders
        let found = try await Self.onFileThread { () throws(ShoalError) in
            model.fingerprint.findCopy(in: folders, likelyPath: model.path)
        }
        guard let found else {
            throw ShoalError(
                .fileUnreadable,
                "node \(nodeName) has no copy of \(model.name) (\(model.fingerprint.byteCount)): neither "
                    + "\(model.path) nor a file in its model folders has the same content; copy it there, or name its "
                    + "folder with --models")
        }
        return found
    }

    /// Where this node may have weights of a model: its copy, and files that differ from it somewhere. What is read
    /// from them must be compared.
    @concurrent func pathsLike(_ model: ModelReference) async -> [String] {
        let folders = folders
        let found = try? await Self.onFileThread { () throws(ShoalError) in
            model.fingerprint.findSimilar(in: folders, likelyPath: model.path)
        }
        return found ?? []
    }

    /// What clients call a model: its file's name without folder, ".gguf" and the number of a split part.
    static func name(ofFile path: String) -> String {
        var name = path.split(separator: "/").last.map(String.init) ?? path
        if name.lowercased().hasSuffix(".gguf") { name.removeLast(5) }
        return SplitFileName(name + ".gguf")?.prefix ?? name
    }

    @concurrent static func onFileThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws(ShoalError) -> Value
    ) async throws(ShoalError) -> Value {
        do {
            return try await NIOThreadPool.singleton.runIfActive { try body() }
        } catch let error as ShoalError {
            throw error
        } catch {
            throw ShoalError(.internal, "files cannot be read any more: \(error)")
        }
    }
}

/// A model as the planning node found it.
struct OpenedModel: Sendable {
    var reference: ModelReference
    var shape: ModelShape
    /// Why the stages engine cannot run it; nil when it can.
    var stagesProblem: ShoalError?
}
