/// Spreads layers over the devices of one worker.
package enum LayerShares {
    /// In proportion to `weights`, at least one each; the order is kept. Empty weights count as one device. `count` is
    /// at least the number of weights.
    package static func spread(_ count: Int, over weights: [Int]) -> [Int] {
        guard weights.count > 1 else { return [count] }
        let total = weights.reduce(0) { $0 + max(1, $1) }
        let spare = count - weights.count
        var shares = weights.map { 1 + spare * max(1, $0) / total }
        // What rounding left over, to the devices with the most, first ones first.
        var rest = count - shares.reduce(0, +)
        for index in weights.indices.sorted(by: { (weights[$1], $0) < (weights[$0], $1) }) where rest > 0 {
            shares[index] += 1
            rest -= 1
        }
        return shares
    }
}
