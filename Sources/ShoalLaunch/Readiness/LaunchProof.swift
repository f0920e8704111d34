package import ShoalCore

/// What has been seen of a llama-server that starts, and what is still missing before it counts as ready: it says that
/// it is healthy, every planned device holds part of the model, and one token came out.
package struct LaunchProof: Hashable, Sendable {
    /// A device that the plan put layers on.
    package enum Device: Hashable, Sendable {
        /// The `index`-th device behind `endpoint`, as llama-server reaches it.
        case worker(endpoint: String, index: Int)
        /// A GPU of the head.
        case local(index: Int)
    }

    package private(set) var steps: Set<Step> = []
    package let devices: [Device]
    /// MiB by the name that llama-server has for a device.
    private var modelBuffers: [String: Double] = [:]
    private var cacheBuffers: [String: Double] = [:]
    private var computeBuffers: [String: Double] = [:]

    /// Signs of progress, in the order in which they usually come.
    package enum Step: Int, Hashable, Sendable, CaseIterable {
        case takingDevices, loadingTensors, warmingUp, modelLoaded, listening, healthy, answered
    }

    package init(devices: [Device]) { self.devices = devices }

    /// Takes note of a line; true if it was a new sign of progress.
    @discardableResult
    package mutating func saw(_ line: ServerLogLine) -> Bool {
        switch line {
        case .device: return steps.insert(.takingDevices).inserted
        case .loadingTensors: return steps.insert(.loadingTensors).inserted
        case .warmingUp: return steps.insert(.warmingUp).inserted
        case .modelLoaded: return steps.insert(.modelLoaded).inserted
        case .listening: return steps.insert(.listening).inserted
        case .buffer(.model, let device, let size):
            modelBuffers[device, default: 0] += size
            return true
        case .buffer(.cache, let device, let size):
            cacheBuffers[device, default: 0] += size
            return true
        case .buffer(.compute, let device, let size):
            computeBuffers[device, default: 0] += size
            return true
        case .offloaded: return true
        case .benign, .failure, .other: return false
        }
    }

    package mutating func saw(_ step: Step) { steps.insert(step) }

    /// Whether a poll of /health is worth its while now, whatever the schedule says.
    package var suggestsHealth: Bool { steps.contains(.modelLoaded) && !steps.contains(.healthy) }

    package var isHealthy: Bool { steps.contains(.healthy) }

    /// Planned devices on which no part of the model was seen.
    package var devicesWithoutModel: [Device] { devices.filter { (modelBytes(on: $0) ?? .zero) == .zero } }

    package var isReady: Bool {
        steps.contains(.healthy) && steps.contains(.answered) && devicesWithoutModel.isEmpty
    }

    package func modelBytes(on device: Device) -> ByteCount? { sum(modelBuffers, device) }
    package func cacheBytes(on device: Device) -> ByteCount? { sum(cacheBuffers, device) }
    package func computeBytes(on device: Device) -> ByteCount? { sum(computeBuffers, device) }

    /// On the head's own processor, embeddings included.
    package var localModelBytes: ByteCount? {
        let own = modelBuffers.filter { !$0.key.contains("[") && !isGPU($0.key) }
        return own.isEmpty ? nil : bytes(own.values.reduce(0, +))
    }

    private func sum(_ buffers: [String: Double], _ device: Device) -> ByteCount? {
        let matching = buffers.filter { names(of: device, $0.key) }
        return matching.isEmpty ? nil : bytes(matching.values.reduce(0, +))
    }

    /// Whether llama-server's `name` is `device`: "RPC0[127.0.0.1:50001]" behind workers; "CUDA0" and the like here.
    private func names(of device: Device, _ name: String) -> Bool {
        switch device {
        case .worker(let endpoint, let index):
            return name == "RPC\(index)[\(endpoint)]" || (index == 0 && name == "RPC[\(endpoint)]")
        case .local(let index):
            return isGPU(name) && name.hasSuffix(String(index))
        }
    }

    private func isGPU(_ name: String) -> Bool { !name.contains("[") && !name.hasPrefix("CPU") && !name.isEmpty }

    private func bytes(_ mebibytes: Double) -> ByteCount {
        guard mebibytes.isFinite, (0..<1e12).contains(mebibytes) else { return .zero }
        return ByteCount(Int(mebibytes * 1_048_576))
    }
}

/// When to ask /health of a server that is loading: seldom at first, then often, so that asking disturbs nothing.
package enum HealthSchedule {
    /// How long the slow rhythm lasts.
    package static let slowDuration = Duration.seconds(120)
    package static let slowInterval = Duration.seconds(10)
    package static let fastInterval = Duration.seconds(1)
    /// How often to look whether a poll is due.
    package static let turn = Duration.milliseconds(50)

    /// Until the next poll, `elapsed` after the server was started.
    package static func interval(elapsed: Duration) -> Duration {
        elapsed < slowDuration ? slowInterval : fastInterval
    }
}
