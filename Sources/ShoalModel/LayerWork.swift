/// What one token costs in one layer, or in the output matrix, in numbers that do not depend on the machine.
package struct LayerWork: Sendable, Hashable, Codable {
    /// Matrices of one type.
    package struct Weights: Sendable, Hashable, Codable {
        /// Name of the ggml type.
        package var type: String
        package var byteCount: Int
        package var elementCount: Int
        /// The part of them that one token uses: less than 1 for experts.
        package var usedShare: Double

        package init(type: String, byteCount: Int, elementCount: Int, usedShare: Double = 1) {
            self.type = type
            self.byteCount = byteCount
            self.elementCount = elementCount
            self.usedShare = usedShare
        }
    }

    package var weights: [Weights]
    /// Elements of cached keys and values that one query token is multiplied with, per cached token: over all query
    /// heads. Zero in recurrent layers.
    package var attentionElementCount: Int
    /// Elements of activation rows that are read or written besides the matrices.
    package var activationElementCount: Int
    /// Operations in the graph.
    package var operationCount: Int
    /// Cached tokens that a query sees at most; nil means all.
    package var windowTokenCount: Int?

    package init(
        weights: [Weights], attentionElementCount: Int, activationElementCount: Int, operationCount: Int,
        windowTokenCount: Int? = nil
    ) {
        self.weights = weights
        self.attentionElementCount = attentionElementCount
        self.activationElementCount = activationElementCount
        self.operationCount = operationCount
        self.windowTokenCount = windowTokenCount
    }
}

extension LayerWork {
    /// Adds up tensors of one layer. Matrices count as weights; everything else is small.
    struct Sum {
        private var weights: [Key: (byteCount: Int, elementCount: Int)] = [:]
        private var rowElementCount = 0
        private var matrixCount = 0

        private struct Key: Hashable {
            var type: String
            var isExpert: Bool
        }

        mutating func add(_ tensor: ModelIndex.Tensor, suffix: String) {
            guard tensor.dimensions.count >= 2, tensor.dimensions[1] > 1 else { return }
            let isExpert = tensor.dimensions.count == 3 && suffix.contains("_exps")
            // No product can overflow: the header reader has checked that all tensors fit into their files.
            let elementCount = tensor.byteCount / tensor.type.blockByteCount * tensor.type.blockElementCount
            let key = Key(type: tensor.type.name, isExpert: isExpert)
            let old = weights[key] ?? (0, 0)
            weights[key] = (old.byteCount + tensor.byteCount, old.elementCount + elementCount)
            rowElementCount += tensor.dimensions[1]
            matrixCount += 1
        }

        /// `expertShare` is the part of the experts that one token uses.
        func work(
            embeddingWidth: Int, attentionElementCount: Int, expertShare: Double, windowTokenCount: Int?
        ) -> LayerWork {
            let sorted = weights.sorted {
                ($0.key.type, $0.key.isExpert ? 1 : 0) < ($1.key.type, $1.key.isExpert ? 1 : 0)
            }
            return LayerWork(
                weights: sorted.map {
                    Weights(
                        type: $0.key.type, byteCount: $0.value.byteCount, elementCount: $0.value.elementCount,
                        usedShare: $0.key.isExpert ? expertShare : 1)
                },
                attentionElementCount: attentionElementCount,
                activationElementCount: rowElementCount + LayerWork.widePassCount * embeddingWidth,
                operationCount: matrixCount + LayerWork.smallOperationCount, windowTokenCount: windowTokenCount)
        }
    }

    /// Norms with their weights, residual sums: passes over a row of the embedding's width.
    private static let widePassCount = 8
    /// Norms, products, rotations, cache writes, attention, gate and sums of an ordinary layer.
    private static let smallOperationCount = 12
}
