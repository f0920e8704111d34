package import ShoalCore

/// How the layers of a model are spread over what llama-server calls devices, and the options that make it do so.
///
/// llama-server numbers the output matrix as one layer more, after the last. With `-ngl N` the first layers stay on its
/// own processor and the last N go to devices; `--tensor-split` cuts those N, by `upper_bound` over cumulated shares
/// (llama-model.cpp:1576-1600). Cuts are put half a layer early, so that rounding cannot move one.
package struct TensorSplit: Hashable, Sendable {
    /// Layers that llama-server computes on its own processor: the first ones.
    package let localLayerCount: Int
    /// Layers of each device, in device order; the output matrix is on the last one and not counted.
    package let deviceLayerCounts: [Int]

    /// Throws `invalidPlacement` when a device would get nothing, or there are more than llama.cpp takes.
    package init(localLayerCount: Int, deviceLayerCounts: [Int]) throws(ShoalError) {
        guard localLayerCount >= 0, deviceLayerCounts.allSatisfy({ $0 > 0 }) else {
            throw ShoalError(
                .invalidPlacement,
                "a split of \(localLayerCount) local layers and \(deviceLayerCounts) on devices leaves one with nothing"
            )
        }
        guard deviceLayerCounts.count <= TensorSplit.deviceCountMax else {
            throw ShoalError(
                .invalidPlacement,
                "\(deviceLayerCounts.count) devices; llama.cpp takes at most \(TensorSplit.deviceCountMax)")
        }
        self.localLayerCount = localLayerCount
        self.deviceLayerCounts = deviceLayerCounts
    }

    /// GGML_SCHED_MAX_BACKENDS is 16, one of which is the processor.
    package static let deviceCountMax = 15

    /// What `-ngl` gets: the layers on devices and the output matrix; 0 without devices.
    package var offloadedLayerCount: Int {
        deviceLayerCounts.isEmpty ? 0 : deviceLayerCounts.reduce(0, +) + 1
    }

    /// What `--tensor-split` gets: one share per device, together 1; empty without devices.
    package var shares: [Double] {
        guard deviceLayerCounts.count > 1 else { return deviceLayerCounts.isEmpty ? [] : [1] }
        let total = Double(offloadedLayerCount)
        return deviceLayerCounts.indices.map { index in
            var layers = Double(deviceLayerCounts[index])
            if index == 0 { layers -= 0.5 }
            if index == deviceLayerCounts.count - 1 { layers += 1.5 }
            return layers / total
        }
    }

    /// "0.500000,0.500000".
    package var text: String { shares.map(TensorSplit.sixDecimals).joined(separator: ",") }

    /// The device of each offloaded layer, the output matrix last, as llama-server computes it from `text`, in single
    /// precision. For checks.
    package static func devices(shares: [Float], offloadedLayerCount: Int) -> [Int] {
        var ends: [Float] = []
        for share in shares { ends.append((ends.last ?? 0) + share) }
        let sum = ends.last ?? 1
        return (0..<offloadedLayerCount).map { layer in
            let place = Float(layer) / Float(offloadedLayerCount)
            return ends.firstIndex { $0 / sum > place } ?? ends.count
        }
    }

    private static func sixDecimals(_ value: Double) -> String {
        let millionths = Int((value * 1_000_000).rounded())
        let digits = String(millionths % 1_000_000)
        return "\(millionths / 1_000_000)." + String(repeating: "0", count: 6 - digits.count) + digits
    }
}
