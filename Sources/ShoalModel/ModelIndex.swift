package import ShoalCore

/// A model as its files describe it: what it is, and where every tensor lies.
package struct ModelIndex: Sendable {
    /// A tensor of the model, in whichever file.
    package struct Tensor: Sendable, Hashable {
        /// What a tensor belongs to.
        package enum Role: Sendable, Hashable {
            /// `blk.LAYER.SUFFIX`.
            case block(layer: Int, suffix: String)
            /// `token_embd.weight`.
            case embedding
            /// The output matrix, and what is multiplied or added with it: in the last stage only.
            case output
            /// In every stage.
            case shared
        }

        package var name: String
        package var role: Role
        package var dimensions: [Int]
        package var type: GGMLType
        package var byteCount: Int
        /// Index into `ModelIndex.headers`.
        package var fileIndex: Int
        package var fileOffset: Int
    }

    /// One per file, in the order of the split; the first one has the metadata.
    package let headers: [GGUFHeader]
    package let recipe: FamilyRecipe
    /// `general.name`, or the first file's.
    package let name: String
    package let tensors: [Tensor]
    /// `token_embd.weight`.
    package let embedding: Tensor
    package let shape: ModelShape
    /// Whether each layer attends to a window only; empty if the model has no window.
    package let isSlidingLayer: [Bool]

    package var family: String { recipe.family }
    package var layerCount: Int { shape.layerCount }
    package var embeddingWidth: Int { shape.embeddingWidth }
    package var vocabularyTokenCount: Int { shape.vocabularyTokenCount }
    package var trainedContextTokenCount: Int { shape.trainedContextTokenCount }
    package var layers: LayerRange? { LayerRange(first: 0, end: layerCount) }

    /// Of one key of the family: "llama.block_count" for "block_count".
    package func familyKey(_ suffix: String) -> String { "\(family).\(suffix)" }

    /// Reads a model of one file. See `read(_:)`.
    package static func read(_ source: some RandomAccessBytes, fileName: String) throws(ShoalError) -> ModelIndex {
        try ModelIndex(headers: [GGUFHeader.read(source, fileName: fileName)])
    }

    /// Puts together the headers of all files of a model, in the order of the split. `anyFamily` takes families too
    /// that the stages engine cannot run.
    /// - Throws: `malformedModel`, `unsupportedFamily`.
    package init(headers: [GGUFHeader], anyFamily: Bool = false) throws(ShoalError) {
        guard let first = headers.first else { throw ShoalError(.internal, "a model has at least one file") }
        try ModelIndex.checkSplit(headers)
        guard let family = try first.string("general.architecture") else {
            throw ShoalError(.malformedModel, "\(first.fileName): it has no general.architecture; is it a model?")
        }
        let recipe =
            anyFamily
            ? FamilyRecipe.unproven(family) : try FamilyRecipe.named(family, fileName: first.fileName)
        let facts = try ModelFacts(
            header: first, tensors: headers.flatMap(\.tensors), recipe: recipe, anyFamily: anyFamily)
        let tensors = try ModelIndex.tensors(of: headers, layerCount: facts.layerCount)
        guard let embedding = tensors.first(where: { $0.role == .embedding }) else {
            throw ShoalError(.malformedModel, "\(first.fileName): the tensor token_embd.weight is missing")
        }
        guard embedding.dimensions.count == 2, embedding.dimensions[0] == facts.embeddingWidth else {
            throw ShoalError(
                .malformedModel,
                "\(first.fileName): token_embd.weight does not have rows of \(facts.embeddingWidth) elements")
        }
        self.headers = headers
        self.recipe = recipe
        self.name = try first.string("general.name") ?? first.fileName
        self.tensors = tensors
        self.embedding = embedding
        self.isSlidingLayer = facts.isSlidingLayer
        var shape = try facts.shape(tensors: tensors, embedding: embedding)
        shape.headerBytes = headers.map { ByteCount($0.bytes.count) }.reduce(.zero, +)
        self.shape = shape
    }

    // MARK: Split files

    private static func checkSplit(_ headers: [GGUFHeader]) throws(ShoalError) {
        for (number, header) in headers.enumerated() {
            let count = try header.integer("split.count", max: GGUFLimits.splitCountMax) ?? 1
            guard max(1, count) == headers.count else {
                throw ShoalError(
                    .malformedModel,
                    "\(header.fileName): it belongs to a model of \(count) files, but \(headers.count) were found; "
                        + "all of them must lie in one folder")
            }
            guard headers.count > 1 else { continue }
            guard try header.integer("split.no", max: GGUFLimits.splitCountMax) == number else {
                throw ShoalError(
                    .malformedModel,
                    "\(header.fileName): its split.no is not \(number), as its name says; was it renamed?")
            }
        }
        let total = headers.reduce(0) { $0 + $1.tensors.count }
        let claimed = try headers[0].integer("split.tensors.count", max: GGUFLimits.tensorCountMax)
        guard headers.count == 1 || claimed == nil || claimed == total else {
            throw ShoalError(
                .malformedModel,
                "\(headers[0].fileName): the model should have \(claimed ?? 0) tensors, but its files have \(total)")
        }
    }

    // MARK: Tensors

    private static func tensors(of headers: [GGUFHeader], layerCount: Int) throws(ShoalError) -> [Tensor] {
        var tensors: [Tensor] = []
        var names: Set<String> = []
        var layersSeen: Set<Int> = []
        for (fileIndex, header) in headers.enumerated() {
            for item in header.tensors {
                let role = try role(of: item.name, layerCount: layerCount, fileName: header.fileName)
                if case .block(let layer, _) = role { layersSeen.insert(layer) }
                guard names.insert(item.name).inserted else {
                    throw ShoalError(
                        .malformedModel, "\(header.fileName): the tensor \(quoted(item.name)) is in another file too")
                }
                tensors.append(
                    Tensor(
                        name: item.name, role: role, dimensions: item.dimensions, type: item.type,
                        byteCount: item.byteCount, fileIndex: fileIndex, fileOffset: item.fileOffset))
            }
        }
        if let missing = (0..<layerCount).first(where: { !layersSeen.contains($0) }) {
            throw ShoalError(
                .malformedModel, "\(headers[0].fileName): layer \(missing) of \(layerCount) has no tensors")
        }
        return tensors
    }

    private static func role(of name: String, layerCount: Int, fileName: String) throws(ShoalError) -> Tensor.Role {
        if name == "token_embd.weight" { return .embedding }
        // Reranking and embedding heads sit behind the last layer like the output matrix.
        let outputPrefixes = ["output.", "cls.", "dense_2.", "dense_3."]
        if outputPrefixes.contains(where: name.hasPrefix) { return .output }
        guard name.hasPrefix("blk.") else { return .shared }
        let parts = name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let layer = Int(parts[1]), String(layer) == parts[1], (0..<layerCount).contains(layer)
        else {
            throw ShoalError(
                .malformedModel,
                "\(fileName): the tensor \(quoted(name)) does not belong to one of \(layerCount) layers")
        }
        return .block(layer: layer, suffix: String(parts[2]))
    }
}
