/// The graph of the families with keys and values. Source: `build_arch_graph` of src/models/llama.cpp, qwen2.cpp,
/// qwen3.cpp, phi3.cpp and gemma3.cpp; `build_qkv`, `build_attn`, `build_ffn` and `build_moe_ffn` of llama-graph.cpp.
struct AttentionGraph {
    private typealias Tensor = ComputeGraph.Tensor

    private let shape: GraphShape
    private let load: GraphLoad
    private var graph = ComputeGraph()

    /// A cache's indices and mask.
    private struct Attention {
        var keyIndices: Tensor
        var valueIndices: Tensor
        var mask: Tensor
    }

    private static let floatSize = 4
    private static let halfSize = 2
    private static let indexSize = 8

    init(shape: GraphShape, load: GraphLoad) {
        self.shape = shape
        self.load = load
    }

    func reservedByteCount() -> Int {
        var copy = self
        copy.build()
        return copy.graph.reservedByteCount()
    }

    private var rowSize: Int { shape.embeddingWidth * Self.floatSize }

    private mutating func build() {
        let count = load.tokenCount
        // Both ways in are in the graph; the one that is not taken keeps its place.
        let tokens = graph.input(count * Self.floatSize)
        let activations = graph.input(count * rowSize)
        var stream = graph.operation(count * rowSize, [graph.external(), tokens])
        graph.expand(stream)
        graph.expand(activations)
        if shape.scalesInput { stream = graph.operation(count * rowSize, [stream], reuse: .ofOperand) }
        graph.expand(stream)
        let positions = graph.input(count * Self.floatSize)
        let full = attention()
        let window = load.isSlidingLayer.contains(true) ? attention() : full
        let outputs = graph.input(load.outputCount * Self.floatSize)
        for (layer, isSliding) in load.isSlidingLayer.enumerated() {
            let isLast = layer == load.isSlidingLayer.count - 1
            stream = block(stream, positions, isSliding ? window : full, outputs: isLast ? outputs : nil)
        }
        let head = matrix(load.vocabularyTokenCount, norm(stream), rowCount: load.outputCount)
        graph.expand(head)
    }

    private mutating func attention() -> Attention {
        let count = load.tokenCount
        return Attention(
            keyIndices: graph.input(count * Self.indexSize), valueIndices: graph.input(count * Self.indexSize),
            mask: graph.input(load.cellCount * count * Self.halfSize))
    }

    private mutating func block(
        _ input: Tensor, _ positions: Tensor, _ attention: Attention, outputs: Tensor?
    ) -> Tensor {
        var residual = input
        var current = attend(norm(input), positions, attention)
        var rowCount = load.tokenCount
        if let outputs {
            rowCount = load.outputCount
            current = graph.operation(rowCount * rowSize, [current, outputs])
            residual = graph.operation(rowCount * rowSize, [residual, outputs])
        }
        if shape.hasPostNorms { current = norm(current) }
        let middle = graph.operation(rowCount * rowSize, [current, residual], reuse: .ofOperand)
        let normed = norm(middle)
        var output =
            shape.expertCount > 0 ? experts(normed, rowCount: rowCount) : feedForward(normed, rowCount: rowCount)
        if shape.hasPostNorms { output = norm(output) }
        let operands = shape.addsResidualFirst ? [middle, output] : [output, middle]
        return graph.operation(rowCount * rowSize, operands, reuse: .ofOperand)
    }

    // MARK: Attention

    private mutating func attend(_ input: Tensor, _ positions: Tensor, _ attention: Attention) -> Tensor {
        let count = load.tokenCount
        var (query, key, value) = projections(input)
        if shape.hasHeadNorms { query = norm(query) }
        query = graph.operation(
            count * shape.queryWidth * Self.floatSize, [query, positions], reuse: .ofOperand)
        if shape.hasHeadNorms { key = norm(key) }
        key = graph.operation(count * shape.keyWidth * Self.floatSize, [key, positions], reuse: .ofOperand)
        if shape.scalesQueries { query = graph.operation(graph.byteCount(query), [query], reuse: .ofOperand) }
        for tensor in [query, value, key] { graph.expand(tensor) }
        let keys = graph.external()
        let values = graph.external()
        graph.expand(graph.write([graph.view(of: key), attention.keyIndices, keys], into: keys))
        graph.expand(graph.write([graph.view(of: value), attention.valueIndices, values], into: values))
        let queries = graph.view(of: graph.view(of: query))
        let cachedKeys = graph.part(of: graph.part(of: keys, byteCount: 0), byteCount: 0)
        let cachedValues = graph.part(of: graph.part(of: values, byteCount: 0), byteCount: 0)
        // As wide as the queries, unless values are of another width than keys.
        let width = shape.queryWidth * shape.valueWidth / max(1, shape.keyWidth)
        let answer = graph.operation(
            count * width * Self.floatSize, [queries, cachedKeys, cachedValues, attention.mask])
        let flat = graph.view(of: answer)
        graph.expand(flat)
        return matrix(shape.embeddingWidth, flat, rowCount: count)
    }

    private mutating func projections(_ input: Tensor) -> (query: Tensor, key: Tensor, value: Tensor) {
        let count = load.tokenCount
        let widths = [shape.queryWidth, shape.keyWidth, shape.valueWidth]
        var results: [Tensor] = []
        if shape.isFusedProjection {
            let all = matrix(widths.reduce(0, +), input, rowCount: count)
            results = widths.map { graph.part(of: all, byteCount: $0 * count * Self.floatSize) }
        } else {
            // The views come last: they are made when all three projections are there.
            results = widths.map { width in
                let product = matrix(width, input, rowCount: count)
                guard shape.hasProjectionBias else { return product }
                return graph.operation(graph.byteCount(product), [product, graph.external()], reuse: .ofOperand)
            }
            results = results.map { graph.view(of: $0) }
        }
        return (results[0], results[1], results[2])
    }

    // MARK: Feed-forward

    private mutating func feedForward(_ input: Tensor, rowCount: Int) -> Tensor {
        let byteCount = rowCount * shape.feedForwardWidth * Self.floatSize
        let gated: Tensor
        switch shape.gate {
        case .fused:
            let both = matrix(2 * shape.feedForwardWidth, input, rowCount: rowCount)
            gated = graph.operation(byteCount, [both])
        case .separate:
            let up = matrix(shape.feedForwardWidth, input, rowCount: rowCount)
            let gate = matrix(shape.feedForwardWidth, input, rowCount: rowCount)
            gated = graph.operation(byteCount, [gate, up])
        }
        return matrix(shape.embeddingWidth, gated, rowCount: rowCount)
    }

    private mutating func experts(_ input: Tensor, rowCount: Int) -> Tensor {
        let used = shape.usedExpertCount
        let (weights, selected) = gating(input, rowCount: rowCount)
        graph.expand(weights)
        let rows = graph.view(of: input)
        let byteCount = rowCount * used * shape.feedForwardWidth * Self.floatSize
        let up = graph.operation(byteCount, [graph.external(), rows, selected])
        let gate = graph.operation(byteCount, [graph.external(), rows, selected])
        let gated = graph.operation(byteCount, [gate, up])
        var results = graph.operation(used * rowCount * rowSize, [graph.external(), gated, selected])
        results = graph.operation(used * rowCount * rowSize, [results, weights], reuse: .ofOperand)
        graph.expand(results)
        let parts = (0..<used).map { _ in graph.part(of: results, byteCount: rowCount * rowSize) }
        for part in parts { graph.expand(part) }
        guard var sum = parts.first else { return results }
        for part in parts.dropFirst() {
            sum = graph.operation(rowCount * rowSize, [sum, part], reuse: .ofOperand)
            graph.expand(sum)
        }
        return sum
    }

    private mutating func gating(_ input: Tensor, rowCount: Int) -> (weights: Tensor, selected: Tensor) {
        let all = rowCount * shape.expertCount * Self.floatSize
        let some = rowCount * shape.usedExpertCount * Self.floatSize
        let logits = matrix(shape.expertCount, input, rowCount: rowCount)
        let probabilities = graph.operation(all, [logits], reuse: .ofOperand)
        let selected = graph.part(of: graph.operation(all, [probabilities]), byteCount: some)
        let chosen = graph.view(of: graph.operation(some, [graph.view(of: probabilities), selected]))
        let sum = graph.operation(rowCount * Self.floatSize, [chosen])
        let clamped = graph.operation(rowCount * Self.floatSize, [sum], reuse: .ofOperand)
        let weights = graph.operation(some, [chosen, clamped], reuse: .ofOperand)
        return (graph.view(of: weights), selected)
    }

    // MARK: Parts

    private mutating func matrix(_ width: Int, _ input: Tensor, rowCount: Int) -> Tensor {
        graph.operation(width * rowCount * Self.floatSize, [graph.external(), input])
    }

    private mutating func norm(_ input: Tensor) -> Tensor {
        let byteCount = graph.byteCount(input)
        let normed = graph.operation(byteCount, [input], reuse: .ofOperand)
        return graph.operation(byteCount, [normed, graph.external()], reuse: .ofOperand)
    }
}
