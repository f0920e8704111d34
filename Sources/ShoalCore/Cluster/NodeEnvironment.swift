/// What one node computes with and what it holds, for whoever looks into a problem. Part of what `shoal doctor` prints.
package struct NodeEnvironment: Hashable, Sendable, Codable {
    /// Layers of a model that the node holds.
    package struct HeldLayers: Hashable, Sendable, Codable {
        package var model: String
        package var layers: LayerRange
        package var weightBytes: ByteCount

        package init(model: String, layers: LayerRange, weightBytes: ByteCount) {
            self.model = model
            self.layers = layers
            self.weightBytes = weightBytes
        }
    }

    package var nodeName: String
    package var shoalVersion: String
    /// Of llama.cpp: number and commit; nil when not known.
    package var engineBuild: String?
    /// What computes, and GPUs with memory of their own; empty until the node has measured itself.
    package var devices: [String]
    package var threadCount: Int
    package var memoryTotal: ByteCount
    package var held: [HeldLayers] = []

    package init(
        nodeName: String, shoalVersion: String, engineBuild: String?, speed: NodeSpeed?, threadCount: Int,
        memoryTotal: ByteCount
    ) {
        self.nodeName = nodeName
        self.shoalVersion = shoalVersion
        self.engineBuild = engineBuild
        self.threadCount = threadCount
        self.memoryTotal = memoryTotal
        devices = speed.map { [$0.device] + $0.accelerators.map { "\($0.name) with \($0.memoryTotal)" } } ?? []
    }
}
