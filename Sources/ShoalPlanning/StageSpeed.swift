package import ShoalCore
package import ShoalModel

/// How long one node computes on ranges of one model's layers.
package struct StageSpeed: Sendable {
    /// A micro-batch.
    package struct Work: Sendable, Hashable {
        package var tokenCount: Int
        /// Tokens that each of them attends to.
        package var cachedTokenCount: Int
        package var outputCount: Int

        package init(tokenCount: Int, cachedTokenCount: Int, outputCount: Int) {
            self.tokenCount = tokenCount
            self.cachedTokenCount = cachedTokenCount
            self.outputCount = outputCount
        }
    }

    /// Handing a micro-batch to the engine and back, and what libllama does once per batch.
    package static let secondsPerMicroBatch = 120e-6
    /// Micro-batches of more tokens count as prompts where decoding and prompts differ.
    package static let decodeTokenCountMax = 16

    private let shape: ModelShape
    private let speed: NodeSpeed
    private let observation: NodeSpeed.Observation?
    /// Index into `speed`'s matrices by type, with stand-ins for types that were not measured.
    private let matrices: [String: NodeSpeed.Matrix]

    /// Whether the speed was measured on the node.
    package let isMeasured: Bool
    /// Types that were not measured, and the one whose times stand for them.
    package let standIns: [String: String]

    package init(shape: ModelShape, modelName: String, node: PlannerNode) {
        self.shape = shape
        isMeasured = node.speed != nil
        let speed = node.speed ?? .assumed(threadCount: node.threadCount)
        self.speed = speed
        observation = speed.observations.first { $0.model == modelName }
        var matrices = speed.matrices
        var standIns: [String: String] = [:]
        for type in StageSpeed.types(of: shape) where matrices[type] == nil {
            guard let nearest = StageSpeed.nearest(to: type, among: speed.matrices.keys) else { continue }
            matrices[type] = speed.matrices[nearest]
            standIns[type] = nearest
        }
        self.matrices = matrices
        self.standIns = standIns
    }

    /// Of the file while loading; nil if nothing was ever loaded there.
    package var loadBytesPerSecond: Double? {
        observation?.loadBytesPerSecond ?? speed.observations.compactMap(\.loadBytesPerSecond).max()
    }

    /// What each layer takes, without what a micro-batch costs by itself.
    package func layerSeconds(_ work: Work) -> [Double] {
        let factor = factor(of: work)
        return shape.layerWork.map { seconds(of: $0, work, rowCount: work.tokenCount) * factor }
    }

    /// The output matrix and choosing the tokens.
    package func outputSeconds(_ work: Work) -> Double {
        guard work.outputCount > 0 else { return 0 }
        let choosing =
            Double(work.outputCount * shape.vocabularyTokenCount) * speed.activationSecondsPerElement
            * StageSpeed.samplingPassCount
        return outputMatrixSeconds(work) + choosing
    }

    /// What libllama computes of a micro-batch, and nothing around it: the time that an engine reports.
    package func computeSeconds(_ layers: LayerRange, _ work: Work) -> Double {
        layerSeconds(work)[layers.first..<layers.end].reduce(0, +)
            + (layers.end == shape.layerCount && work.outputCount > 0 ? outputMatrixSeconds(work) : 0)
    }

    private func outputMatrixSeconds(_ work: Work) -> Double {
        seconds(of: shape.outputWork, work, rowCount: work.outputCount) * factor(of: work)
    }

    /// A stage that computes a whole micro-batch.
    package func stageSeconds(_ layers: LayerRange, _ work: Work) -> Double {
        let all = layerSeconds(work)
        return all[layers.first..<layers.end].reduce(StageSpeed.secondsPerMicroBatch, +)
            + (layers.end == shape.layerCount ? outputSeconds(work) : 0)
    }

    /// Passes over a row of logits until a token is chosen.
    private static let samplingPassCount = 3.0

    private func factor(of work: Work) -> Double {
        let isDecode = work.tokenCount <= StageSpeed.decodeTokenCountMax
        let observed = isDecode ? observation?.decodeFactor : observation?.promptFactor ?? observation?.decodeFactor
        return observed.map { min(max($0, NodeSpeed.factorRange.lowerBound), NodeSpeed.factorRange.upperBound) } ?? 1
    }

    private func seconds(of layer: LayerWork, _ work: Work, rowCount: Int) -> Double {
        let rows = Double(rowCount)
        var sum = 0.0
        for weights in layer.weights {
            guard let matrix = matrices[weights.type] else { continue }
            let readShare = min(1, weights.usedShare * rows)
            sum += Double(weights.byteCount) * readShare * matrix.secondsPerByte
            sum += Double(weights.elementCount) * weights.usedShare * (rows - 1) * matrix.secondsPerElementAndToken
        }
        let cached = min(work.cachedTokenCount, layer.windowTokenCount ?? .max)
        let perElement =
            work.tokenCount <= StageSpeed.decodeTokenCountMax
            ? speed.attentionSecondsPerElement : speed.promptAttentionSecondsPerElement
        sum += Double(layer.attentionElementCount) * Double(cached) * rows * perElement
        sum += Double(layer.activationElementCount) * rows * speed.activationSecondsPerElement
        return sum + Double(layer.operationCount) * speed.secondsPerOperation
    }

    private static func types(of shape: ModelShape) -> Set<String> {
        Set((shape.layerWork + [shape.outputWork]).flatMap(\.weights).map(\.type))
    }

    /// The measured type of the most similar size.
    private static func nearest(to type: String, among measured: some Collection<String>) -> String? {
        let bits = bitsPerElement(type) ?? 8
        return measured.sorted().min { abs((bitsPerElement($0) ?? 8) - bits) < abs((bitsPerElement($1) ?? 8) - bits) }
    }

    private static func bitsPerElement(_ name: String) -> Double? {
        GGMLType.all.first { $0.name == name }.map { Double($0.blockByteCount * 8) / Double($0.blockElementCount) }
    }
}

extension NodeSpeed {
    /// For a node that has measured nothing yet: an ordinary processor core per thread, sharing one memory.
    package static func assumed(threadCount: Int) -> NodeSpeed {
        let threads = Double(max(1, min(threadCount, 256)))
        let bytesPerSecond = min(threads * 5e9, 25e9)
        let elementsPerSecond = threads * 25e9
        let matrix = { (efficiency: Double) in
            Matrix(
                secondsPerByte: 1 / (bytesPerSecond * efficiency), secondsPerElementAndToken: 1 / elementsPerSecond)
        }
        return NodeSpeed(
            engineBuild: "", device: "CPU", threadCount: threadCount,
            matrices: [
                "q4_0": matrix(1), "q4_K": matrix(1), "q6_K": matrix(1), "q8_0": matrix(1.2), "f16": matrix(1.5),
                "f32": matrix(1.5),
            ],
            attentionSecondsPerElement: 0.5e-9 / threads, promptAttentionSecondsPerElement: 0.2e-9 / threads,
            activationSecondsPerElement: 1e-9 / threads, secondsPerOperation: 2e-6,
            memoryBytesPerSecond: bytesPerSecond)
    }
}
