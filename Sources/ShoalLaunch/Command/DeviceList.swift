package import ShoalCore

/// One GPU as `llama-server --list-devices` prints it.
package struct ListedDevice: Hashable, Sendable {
    package var name: String
    package var total: ByteCount
    package var free: ByteCount

    package init(name: String, total: ByteCount, free: ByteCount) {
        self.name = name
        self.total = total
        self.free = free
    }

    /// Reads lines such as "  CUDA0: NVIDIA H200 (143167 MiB, 142000 MiB free)". Others, workers and processors are
    /// passed over.
    package static func list(parsing text: String) -> [ListedDevice] {
        text.split(whereSeparator: \.isNewline).compactMap { line in
            guard line.first == " ", let colon = line.firstIndex(of: ":"), let open = line.lastIndex(of: "(") else {
                return nil
            }
            let name = line[..<colon].drop { $0 == " " }
            let numbers = line[open...].split(whereSeparator: { !$0.isNumber }).compactMap { Int($0) }
            guard numbers.count == 2, !name.isEmpty, !name.contains(" "), !name.hasPrefix("RPC"),
                !name.hasPrefix("CPU"), !name.hasPrefix("BLAS"), numbers.allSatisfy({ $0 < 1 << 30 })
            else { return nil }
            return ListedDevice(
                name: String(name), total: ByteCount(numbers[0] << 20), free: ByteCount(numbers[1] << 20))
        }
    }
}
