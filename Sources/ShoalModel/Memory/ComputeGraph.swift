/// A graph of operations with the sizes of their results, and how much memory ggml's allocator reserves for it.
///
/// Source: `ggml_build_forward_expand` (ggml.c) for the order of nodes, `ggml_gallocr_alloc_graph_impl` and
/// `ggml_dyn_tallocr_alloc` (ggml-alloc.c) for what is freed when and which free block is taken, all at the pinned
/// commit. One device, one chunk.
struct ComputeGraph {
    /// Index of a tensor of the graph.
    struct Tensor: Hashable {
        fileprivate var index: Int
    }

    /// Whether a result may take the place of an operand that nobody else needs: `ggml_op_can_inplace`.
    enum Reuse {
        case never, ofOperand
    }

    private struct Node {
        var byteCount: Int
        var sources: [Int]
        /// The tensor that it is a view of.
        var viewed: Int?
        /// Weights and caches, which lie elsewhere.
        var isExternal = false
        var isInput = false
        var reuse = Reuse.never
        var isVisited = false
    }

    private var nodes: [Node] = []
    private var leaves: [Int] = []
    private var order: [Int] = []

    // MARK: Building

    /// Something that the graph reads but does not allocate.
    mutating func external() -> Tensor {
        var node = Node(byteCount: 0, sources: [])
        node.isExternal = true
        return add(node)
    }

    mutating func input(_ byteCount: Int) -> Tensor {
        var node = Node(byteCount: byteCount, sources: [])
        node.isInput = true
        return add(node)
    }

    mutating func operation(_ byteCount: Int, _ sources: [Tensor], reuse: Reuse = .never) -> Tensor {
        var node = Node(byteCount: byteCount, sources: sources.map(\.index))
        node.reuse = reuse
        return add(node)
    }

    /// The same bytes in another shape.
    mutating func view(of tensor: Tensor) -> Tensor { part(of: tensor, byteCount: nodes[tensor.index].byteCount) }

    /// Some of the bytes.
    mutating func part(of tensor: Tensor, byteCount: Int) -> Tensor {
        let root = nodes[tensor.index].viewed ?? tensor.index
        return add(Node(byteCount: byteCount, sources: [tensor.index], viewed: root))
    }

    /// An operation whose result lies in something external.
    mutating func write(_ sources: [Tensor], into destination: Tensor) -> Tensor {
        add(Node(byteCount: 0, sources: sources.map(\.index), viewed: destination.index))
    }

    func byteCount(_ tensor: Tensor) -> Int { nodes[tensor.index].byteCount }

    /// Puts a tensor, and what it needs first, at the end of the graph.
    mutating func expand(_ tensor: Tensor) { visit(tensor.index) }

    private mutating func add(_ node: Node) -> Tensor {
        nodes.append(node)
        return Tensor(index: nodes.count - 1)
    }

    private mutating func visit(_ index: Int) {
        guard !nodes[index].isVisited else { return }
        nodes[index].isVisited = true
        for source in nodes[index].sources { visit(source) }
        if nodes[index].sources.isEmpty { leaves.append(index) } else { order.append(index) }
    }

    // MARK: Allocating

    /// The size of the buffer that holds all results at their times.
    func reservedByteCount() -> Int {
        var run = Run(nodes: nodes)
        for leaf in leaves { run.allocate(leaf) }
        for index in order {
            if let viewed = nodes[index].viewed { run.viewCounts[viewed] += 1 }
            for source in nodes[index].sources {
                run.childCounts[source] += 1
                if nodes[source].isInput { run.allocate(source) }
            }
        }
        for index in order {
            for source in nodes[index].sources { run.allocate(source) }
            run.allocate(index)
            for source in nodes[index].sources { run.release(source) }
        }
        return run.blocks.largestEnd
    }

    private struct Run {
        let nodes: [Node]
        var blocks = FreeBlocks()
        var childCounts: [Int]
        var viewCounts: [Int]
        private var isAllocated: [Bool]
        private var offsets: [Int]

        init(nodes: [Node]) {
            self.nodes = nodes
            childCounts = Array(repeating: 0, count: nodes.count)
            viewCounts = childCounts
            offsets = childCounts
            isAllocated = nodes.map { _ in false }
        }

        mutating func allocate(_ index: Int) {
            let node = nodes[index]
            guard !node.isExternal, !isAllocated[index], node.viewed == nil else { return }
            isAllocated[index] = true
            if node.reuse == .ofOperand {
                // Views are never allocated themselves, so they cannot be taken over either.
                for source in node.sources
                where isAllocated[source] && nodes[source].byteCount == node.byteCount
                    && childCounts[source] == 1 && viewCounts[source] == 0
                {
                    offsets[index] = offsets[source]
                    isAllocated[source] = false
                    return
                }
            }
            offsets[index] = blocks.take(node.byteCount)
        }

        /// One user less.
        mutating func release(_ index: Int) {
            childCounts[index] -= 1
            guard childCounts[index] == 0, viewCounts[index] == 0 else { return }
            guard let viewed = nodes[index].viewed else { return free(index) }
            viewCounts[viewed] -= 1
            if viewCounts[viewed] == 0 && childCounts[viewed] == 0 { free(viewed) }
        }

        private mutating func free(_ index: Int) {
            guard isAllocated[index] else { return }
            isAllocated[index] = false
            blocks.give(nodes[index].byteCount, at: offsets[index])
        }
    }
}

/// What is free of a buffer without an end: the smallest block that is large enough is taken, the last one only when no
/// other is.
private struct FreeBlocks {
    private struct Block {
        var offset: Int
        var byteCount: Int
        var end: Int { offset + byteCount }
    }

    /// `TENSOR_ALIGNMENT` of ggml's processor buffers.
    private static let alignment = 32
    /// By offset. The last one is what was never used.
    private var blocks = [Block(offset: 0, byteCount: Int.max / 2)]
    private(set) var largestEnd = 0

    mutating func take(_ byteCount: Int) -> Int {
        let size = FreeBlocks.aligned(byteCount)
        var best = blocks.count - 1
        for index in blocks.indices.dropLast() where blocks[index].byteCount >= size {
            if best == blocks.count - 1 || blocks[index].byteCount <= blocks[best].byteCount { best = index }
        }
        let offset = blocks[best].offset
        blocks[best].offset += size
        blocks[best].byteCount -= size
        if blocks[best].byteCount == 0 { blocks.remove(at: best) }
        largestEnd = max(largestEnd, offset + size)
        return offset
    }

    mutating func give(_ byteCount: Int, at offset: Int) {
        let size = FreeBlocks.aligned(byteCount)
        let place = blocks.firstIndex { $0.offset > offset } ?? blocks.endIndex
        blocks.insert(Block(offset: offset, byteCount: size), at: place)
        merge(place)
        if place > 0 { merge(place - 1) }
    }

    /// With the next one, if they touch.
    private mutating func merge(_ index: Int) {
        guard index + 1 < blocks.count, blocks[index].end == blocks[index + 1].offset else { return }
        blocks[index].byteCount += blocks[index + 1].byteCount
        blocks.remove(at: index + 1)
    }

    private static func aligned(_ byteCount: Int) -> Int { (byteCount + alignment - 1) / alignment * alignment }
}
