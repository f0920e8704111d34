import ShoalCore
import ShoalModel

/// Whether a model fits at all, and what is missing when it does not. Times do not count here.
struct FitSearch {
    let needs: StageNeeds
    let costs: PlanCosts
    let layerCount: Int

    private static let layerStepMax = 512

    /// The least memory of one more node with which the model fits; nil if one more node is not enough.
    func leastFurtherBytes(to nodes: [PlannerNode]) -> Int? {
        // It would hold some range of layers, so only what ranges need comes into question.
        let step = max(1, layerCount / FitSearch.layerStepMax)
        var sizes: Set<Int> = []
        for first in stride(from: 0, to: layerCount, by: step) {
            for end in stride(from: layerCount, to: first, by: -step) { sizes.insert(needs.neededBytes(first, end)) }
        }
        let sorted = sizes.sorted()
        let capacities = nodes.map { Capacity(byteCount: $0.availableBytes.rawValue, layerCountMax: $0.layerCountMax) }
            .sorted { $0.byteCount > $1.byteCount }
        var (low, high) = (0, sorted.count - 1)
        guard high >= 0, fits(capacities, further: sorted[high]) else { return nil }
        while low < high {
            let middle = (low + high) / 2
            if fits(capacities, further: sorted[middle]) { high = middle } else { low = middle + 1 }
        }
        return sorted[high]
    }

    private struct Capacity {
        var byteCount: Int
        var layerCountMax: Int?
    }

    private func fits(_ capacities: [Capacity], further: Int) -> Bool {
        var all = capacities
        let place = all.firstIndex { $0.byteCount < further } ?? all.endIndex
        all.insert(Capacity(byteCount: further, layerCountMax: nil), at: place)
        return all.count <= FitSearch.exactNodeCountMax
            ? fitsExactly(all) : fitsExactly(Array(all.prefix(FitSearch.exactNodeCountMax))) || fitsInOrder(all)
    }

    private static let exactNodeCountMax = 8

    /// Over every set of nodes, the most layers that it can hold from the first one on. More layers are never worse:
    /// what holds a range holds any shorter one that is not the last.
    private func fitsExactly(_ nodes: [Capacity]) -> Bool {
        // Cuts that are not allowed and the output matrix make "more is better" untrue, so all reachable ends count.
        var reachable = [Set<Int>](repeating: [], count: 1 << nodes.count)
        reachable[0] = [0]
        for set in 0..<(1 << nodes.count) where !reachable[set].isEmpty {
            for (bit, node) in nodes.enumerated() where set & (1 << bit) == 0 {
                for first in reachable[set] where first < layerCount {
                    let ends = ends(from: first, on: node)
                    if ends.contains(layerCount) { return true }
                    reachable[set | 1 << bit].formUnion(ends)
                }
            }
        }
        return false
    }

    /// The longest end, every illegal neighbour's replacement, and the model's end if it can be reached.
    private func ends(from first: Int, on node: Capacity) -> [Int] {
        var result: [Int] = []
        let most = min(layerCount, first + (node.layerCountMax ?? layerCount))
        guard most > first else { return [] }
        for end in (first + 1...most).reversed() {
            guard needs.neededBytes(first, end) <= node.byteCount, costs.isLegal(first, end) else { continue }
            result.append(end)
            if !hasIllegalCuts { if end < layerCount { break } }
        }
        return result
    }

    private var hasIllegalCuts: Bool { costs.request.shape.peculiarLayerCount != nil }

    private func fitsInOrder(_ nodes: [Capacity]) -> Bool {
        var first = 0
        for node in nodes.prefix(Limits.stageCountMax) {
            guard let end = ends(from: first, on: node).max() else { continue }
            first = end
            if first == layerCount { return true }
        }
        return false
    }
}
