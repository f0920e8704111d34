/// What a plan should be best at.
package enum PlanObjective: String, Sendable, Codable, CaseIterable {
    /// The least time per token of one request.
    case latency
    /// The most tokens per second of all requests together.
    case throughput
}

/// How fast a placement is predicted to be.
package struct PlanPrediction: Hashable, Sendable, Codable {
    /// From the order to load until the model answers.
    package var loadSeconds: Double
    /// The prompt that `timeToFirstTokenSeconds` is of.
    package var promptTokenCount: Int
    package var timeToFirstTokenSeconds: Double
    /// Of one request that is alone, after that prompt.
    package var millisecondsPerToken: Double
    /// Requests that `tokensPerSecond` is of.
    package var streamCount: Int
    /// All requests together, prompts not counted.
    package var tokensPerSecond: Double
    /// What had to be assumed because nobody has measured it, in sentences; empty if everything was measured.
    package var assumptions: [String]

    package init(
        loadSeconds: Double, promptTokenCount: Int, timeToFirstTokenSeconds: Double, millisecondsPerToken: Double,
        streamCount: Int, tokensPerSecond: Double, assumptions: [String]
    ) {
        self.loadSeconds = loadSeconds
        self.promptTokenCount = promptTokenCount
        self.timeToFirstTokenSeconds = timeToFirstTokenSeconds
        self.millisecondsPerToken = millisecondsPerToken
        self.streamCount = streamCount
        self.tokensPerSecond = tokensPerSecond
        self.assumptions = assumptions
    }
}

/// A placement and its reasons. What `shoal plan` prints.
package struct PlanReport: Hashable, Sendable, Codable {
    package struct Stage: Hashable, Sendable, Codable {
        package var node: NodeID
        package var nodeName: String
        package var layers: LayerRange
        package var weightBytes: ByteCount
        /// Weights, KV cache, compute buffers and head-room together.
        package var neededBytes: ByteCount
        package var availableBytes: ByteCount
        package var prediction: StagePrediction?

        package init(
            node: NodeID, nodeName: String, layers: LayerRange, weightBytes: ByteCount, neededBytes: ByteCount,
            availableBytes: ByteCount
        ) {
            self.node = node
            self.nodeName = nodeName
            self.layers = layers
            self.weightBytes = weightBytes
            self.neededBytes = neededBytes
            self.availableBytes = availableBytes
        }
    }

    /// One stage's part of a prediction.
    package struct StagePrediction: Hashable, Sendable, Codable {
        package var loadSeconds: Double
        /// Of the whole prompt.
        package var promptSeconds: Double
        package var millisecondsPerToken: Double
        /// To hand a token on: to the next stage, or from the last one back to the first.
        package var hopMilliseconds: Double

        package init(
            loadSeconds: Double, promptSeconds: Double, millisecondsPerToken: Double, hopMilliseconds: Double
        ) {
            self.loadSeconds = loadSeconds
            self.promptSeconds = promptSeconds
            self.millisecondsPerToken = millisecondsPerToken
            self.hopMilliseconds = hopMilliseconds
        }
    }

    /// Another placement that would work.
    package struct Alternative: Hashable, Sendable, Codable {
        package var stages: [Stage]
        package var prediction: PlanPrediction

        package init(stages: [Stage], prediction: PlanPrediction) {
            self.stages = stages
            self.prediction = prediction
        }
    }

    package var model: String
    package var family: String
    package var layerCount: Int
    package var stages: [Stage]
    /// Bytes that one token sends over each boundary, frame headers not included.
    package var boundaryBytesPerToken: ByteCount
    package var objective: PlanObjective
    package var prediction: PlanPrediction?
    /// Why this placement, and why not others: sentences.
    package var reasons: [String]
    package var engine = EngineKind.stages
    /// Other placements that fit, best first; at most `alternativeCountMax`.
    package var alternatives: [Alternative]

    package static let alternativeCountMax = 12

    package init(
        model: String, family: String, layerCount: Int, stages: [Stage], boundaryBytesPerToken: ByteCount,
        reasons: [String]
    ) {
        self.model = model
        self.family = family
        self.layerCount = layerCount
        self.stages = stages
        self.boundaryBytesPerToken = boundaryBytesPerToken
        self.reasons = reasons
        objective = .latency
        prediction = nil
        alternatives = []
    }
}
