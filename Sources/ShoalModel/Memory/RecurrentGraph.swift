/// The graph of families with a state per sequence. Source: src/models/mamba.cpp, `build_mamba_layer` of mamba-base.cpp
/// and `build_rs` of llama-graph.cpp.
struct RecurrentGraph {
    private typealias Tensor = ComputeGraph.Tensor

    private let shape: GraphShape
    private let load: GraphLoad
    private var graph = ComputeGraph()

    private static let floatSize = 4

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
    private var innerByteCount: Int { load.tokenCount * shape.innerWidth * Self.floatSize }

    /// Which states the sequences have.
    private struct States {
        var main: Tensor
        var extra: Tensor
    }

    private mutating func build() {
        let count = load.tokenCount
        let tokens = graph.input(count * Self.floatSize)
        let activations = graph.input(count * rowSize)
        var stream = graph.operation(count * rowSize, [graph.external(), tokens])
        graph.expand(stream)
        graph.expand(activations)
        let copies = graph.input(load.sequenceCount * Self.floatSize)
        let states = States(main: graph.view(of: copies), extra: graph.part(of: copies, byteCount: 0))
        let outputs = graph.input(load.outputCount * Self.floatSize)
        for layer in load.isSlidingLayer.indices {
            let isLast = layer == load.isSlidingLayer.count - 1
            var current = mix(norm(stream), states)
            var rowCount = count
            if isLast {
                rowCount = load.outputCount
                current = graph.operation(rowCount * rowSize, [current, outputs])
                stream = graph.operation(rowCount * rowSize, [stream, outputs])
            }
            stream = graph.operation(rowCount * rowSize, [current, stream], reuse: .ofOperand)
        }
        graph.expand(matrix(load.vocabularyTokenCount, norm(stream), rowCount: load.outputCount))
    }

    private mutating func mix(_ input: Tensor, _ states: States) -> Tensor {
        let count = load.tokenCount
        let convolutionCache = graph.external()
        let kernelByteCount = (shape.kernelWidth - 1) * shape.innerWidth * load.sequenceCount * Self.floatSize
        let past = recalled(convolutionCache, states) { graph, cached in
            graph.operation(kernelByteCount, [cached, states.main])
        }
        let before = graph.view(of: past)
        let both = matrix(2 * shape.innerWidth, graph.view(of: input), rowCount: count)
        let part = graph.part(of: both, byteCount: innerByteCount)
        let gate = graph.part(of: both, byteCount: innerByteCount)
        let window = graph.operation(kernelByteCount + innerByteCount, [before, graph.view(of: part)])
        store(graph.part(of: window, byteCount: 0), into: convolutionCache)
        var inner = graph.operation(innerByteCount, [window, graph.external()])
        inner = graph.operation(innerByteCount, [inner, graph.external()], reuse: .ofOperand)
        inner = graph.operation(innerByteCount, [inner], reuse: .ofOperand)
        let scanned = scan(inner, states)
        let skipped = graph.operation(innerByteCount, [inner, graph.external()], reuse: .ofOperand)
        let sum = graph.operation(innerByteCount, [scanned, skipped], reuse: .ofOperand)
        let gated = graph.operation(innerByteCount, [graph.operation(innerByteCount, [gate]), sum])
        return graph.view(of: matrix(shape.embeddingWidth, gated, rowCount: count))
    }

    private mutating func scan(_ inner: Tensor, _ states: States) -> Tensor {
        let count = load.tokenCount
        let selection = matrix(shape.stepRank + 2 * shape.stateWidth, inner, rowCount: count)
        let stepByteCount = count * shape.stepRank * Self.floatSize
        let steps = graph.operation(stepByteCount, [graph.part(of: selection, byteCount: stepByteCount)])
        let ways = (0..<2).map { _ in graph.part(of: selection, byteCount: 0) }
        var step = matrix(shape.innerWidth, steps, rowCount: count)
        step = graph.operation(innerByteCount, [step, graph.external()], reuse: .ofOperand)
        let rows = graph.view(of: inner)
        let cache = graph.external()
        let stateByteCount = shape.stateWidth * shape.innerWidth * load.sequenceCount * Self.floatSize
        let weights = graph.external()
        let size = innerByteCount + stateByteCount
        let result = recalled(cache, states) { graph, cached in
            let states4 = graph.part(of: cached, byteCount: 0)
            return graph.operation(size, [states4, rows, step, weights] + ways + [states.main])
        }
        store(graph.part(of: result, byteCount: 0), into: cache)
        return graph.part(of: result, byteCount: innerByteCount)
    }

    /// `build_rs`: clears a state, computes with those of the batch, copies the others.
    private mutating func recalled(
        _ cache: Tensor, _ states: States, _ compute: (inout ComputeGraph, Tensor) -> Tensor
    ) -> Tensor {
        let cached = graph.part(of: cache, byteCount: 0)
        graph.expand(graph.write([graph.part(of: cached, byteCount: 0)], into: cache))
        let result = compute(&graph, cached)
        graph.expand(result)
        store(graph.operation(0, [cached, states.extra]), into: cache)
        return result
    }

    private mutating func store(_ tensor: Tensor, into cache: Tensor) {
        graph.expand(graph.write([tensor, graph.part(of: cache, byteCount: 0)], into: cache))
    }

    private mutating func matrix(_ width: Int, _ input: Tensor, rowCount: Int) -> Tensor {
        graph.operation(width * rowCount * Self.floatSize, [graph.external(), input])
    }

    private mutating func norm(_ input: Tensor) -> Tensor {
        let byteCount = graph.byteCount(input)
        let normed = graph.operation(byteCount, [input], reuse: .ofOperand)
        return graph.operation(byteCount, [normed, graph.external()], reuse: .ofOperand)
    }
}
