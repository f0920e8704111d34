/// Least squares of relative errors with coefficients that are not negative: few terms, so every choice of those that
/// are zero is tried.
struct NonNegativeFit: Sendable {
    private static let termCount = 3
    private var products = [Double](repeating: 0, count: termCount * termCount)
    private var results = [Double](repeating: 0, count: termCount)
    private(set) var coefficients = [Double](repeating: 0, count: termCount)

    /// `scale` is what an error is relative to; the value itself unless given.
    mutating func add(_ terms: [Double], _ value: Double, weight: Double, scale: Double? = nil) {
        let scale = scale ?? value
        guard scale > 0 else { return }
        let factor = weight / (scale * scale)
        for row in terms.indices {
            results[row] += factor * terms[row] * value
            for column in terms.indices {
                products[row * Self.termCount + column] += factor * terms[row] * terms[column]
            }
        }
    }

    func value(_ terms: [Double]) -> Double { zip(coefficients, terms).reduce(0) { $0 + $1.0 * $1.1 } }

    mutating func solve() {
        var best = Double.infinity
        for choice in 1..<(1 << Self.termCount) {
            let used = (0..<Self.termCount).filter { choice & (1 << $0) != 0 }
            guard let solution = solution(used), solution.allSatisfy({ $0 >= 0 && $0.isFinite }) else { continue }
            let error = error(solution)
            guard error < best else { continue }
            best = error
            coefficients = solution
        }
    }

    /// Twice what differs between choices of the squared error.
    private func error(_ solution: [Double]) -> Double {
        var sum = 0.0
        for row in solution.indices {
            sum -= 2 * solution[row] * results[row]
            for column in solution.indices {
                sum += solution[row] * solution[column] * products[row * Self.termCount + column]
            }
        }
        return sum
    }

    /// Gaussian elimination over the terms that are used; nil where they do not determine each other.
    private func solution(_ used: [Int]) -> [Double]? {
        var rows = used.map { row in used.map { products[row * Self.termCount + $0] } + [results[row]] }
        for pivot in rows.indices {
            guard let best = (pivot..<rows.count).max(by: { abs(rows[$0][pivot]) < abs(rows[$1][pivot]) }),
                abs(rows[best][pivot]) > 1e-12 * abs(products[used[pivot] * Self.termCount + used[pivot]])
            else { return nil }
            rows.swapAt(pivot, best)
            for row in rows.indices where row != pivot {
                let factor = rows[row][pivot] / rows[pivot][pivot]
                for column in rows[row].indices { rows[row][column] -= factor * rows[pivot][column] }
            }
        }
        var result = [Double](repeating: 0, count: Self.termCount)
        for (index, term) in used.enumerated() { result[term] = rows[index][used.count] / rows[index][index] }
        return result
    }
}
