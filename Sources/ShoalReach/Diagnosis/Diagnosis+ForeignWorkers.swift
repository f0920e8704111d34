package import ShoalCore

extension Diagnosis {
    /// How many of the stock workers that `node` was told of answer, and which do not. Nothing where there are none.
    package static func foreignWorkers(_ workers: [ForeignWorkerReport], of node: String) -> [DoctorCheck] {
        guard !workers.isEmpty else { return [] }
        let missing = workers.filter { $0.problem != nil }
        let count = "\(workers.count - missing.count) of \(workers.count) foreign workers of \(node) answer"
        guard !missing.isEmpty else { return [DoctorCheck(.pass, count)] }
        let names = missing.map { "\($0.address) (\($0.problem ?? ""))" }.joined(separator: ", ")
        return [
            DoctorCheck(
                .failure, "\(count); missing: \(names)",
                advice: "start ggml-rpc-server there, or restart \(node) without that --rpc-worker")
        ]
    }
}
