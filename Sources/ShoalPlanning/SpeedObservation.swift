package import ShoalCore
package import ShoalModel

/// Micro-batches of one kind that a stage has computed, and their average.
package struct MeasuredWork: Sendable, Hashable {
    package var microBatchCount: Int
    package var average: StageSpeed.Work
    package var seconds: Double

    package init(microBatchCount: Int, average: StageSpeed.Work, seconds: Double) {
        self.microBatchCount = microBatchCount
        self.average = average
        self.seconds = seconds
    }
}

extension NodeSpeed {
    /// Of so many tokens one can tell a speed.
    private static let observedTokenCountMin = 16
    /// Loads of less are mostly fixed costs.
    private static let observedLoadByteCountMin = 16 << 20
    /// How much a new observation counts against those before it.
    private static let observationWeight = 0.5

    /// Takes note of what a stage really took, for later predictions. False if it was too little to tell anything.
    package mutating func observe(
        model: String, shape: ModelShape, layers: LayerRange, decode: MeasuredWork?, prompt: MeasuredWork?
    ) -> Bool {
        var plain = self
        plain.observations = []
        let node = PlannerNode(
            id: .random(), name: "", availableBytes: .zero, threadCount: threadCount, speed: plain)
        let predictor = StageSpeed(shape: shape, modelName: model, node: node)
        var isNew = false
        change(model) { observation in
            for (measured, factor) in [(decode, \Observation.decodeFactor), (prompt, \Observation.promptFactor)] {
                guard let measured, let found = NodeSpeed.factor(measured, predictor, layers) else { continue }
                observation[keyPath: factor] = NodeSpeed.blend(observation[keyPath: factor], found)
                isNew = true
            }
            return isNew
        }
        return isNew
    }

    /// Takes note of how long a stage took to load. False if it was too small to tell anything.
    package mutating func observeLoad(model: String, byteCount: ByteCount, seconds: Double) -> Bool {
        guard byteCount.rawValue >= NodeSpeed.observedLoadByteCountMin, seconds > 0, seconds.isFinite else {
            return false
        }
        change(model) {
            $0.loadBytesPerSecond = Double(byteCount.rawValue) / seconds; return true
        }
        return true
    }

    /// The model's observation becomes the youngest; the oldest is forgotten when there are too many.
    private mutating func change(_ model: String, _ body: (inout Observation) -> Bool) {
        var observation = observations.first { $0.model == model } ?? Observation(model: model)
        guard body(&observation) else { return }
        observations.removeAll { $0.model == model }
        observations.append(observation)
        observations.removeFirst(max(0, observations.count - NodeSpeed.observationCountMax))
    }

    private static func factor(_ measured: MeasuredWork, _ predictor: StageSpeed, _ layers: LayerRange) -> Double? {
        guard measured.microBatchCount > 0,
            measured.microBatchCount * measured.average.tokenCount >= observedTokenCountMin
        else { return nil }
        let predicted = predictor.computeSeconds(layers, measured.average) * Double(measured.microBatchCount)
        guard predicted > 0, measured.seconds > 0, measured.seconds.isFinite else { return nil }
        return min(max(measured.seconds / predicted, factorRange.lowerBound), factorRange.upperBound)
    }

    private static func blend(_ old: Double?, _ new: Double) -> Double {
        old.map { $0 + (new - $0) * observationWeight } ?? new
    }
}
