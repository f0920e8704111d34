/// How fast a node's engine computes, measured without any model, and what real runs said since.
///
/// The numbers are of one engine build with one number of threads; times are the shortest of several repetitions.
package struct NodeSpeed: Hashable, Sendable, Codable {
    /// Multiplying with weights of one type.
    package struct Matrix: Hashable, Sendable, Codable {
        /// Of weights, for one token: what reading them costs.
        package var secondsPerByte: Double
        /// Per element of the weights, for each further token of the same micro-batch.
        package var secondsPerElementAndToken: Double
        package init(secondsPerByte: Double, secondsPerElementAndToken: Double) {
            self.secondsPerByte = secondsPerByte
            self.secondsPerElementAndToken = secondsPerElementAndToken
        }
    }

    /// Of llama.cpp.
    package var engineBuild: String
    /// What computed: "CPU", or a GPU's name.
    package var device: String
    package var threadCount: Int
    /// By the name of the ggml type.
    package var matrices: [String: Matrix]
    /// One query of one head against one cached key and value, per element of both; in micro-batches of one token.
    package var attentionSecondsPerElement: Double
    /// The same in micro-batches of many tokens.
    package var promptAttentionSecondsPerElement: Double
    /// Norms, rotations, sums: per element of an activation row.
    package var activationSecondsPerElement: Double
    /// What an operation of the graph costs besides its work.
    package var secondsPerOperation: Double
    package var memoryBytesPerSecond: Double
    /// Weight types that libllama lays out anew on this machine, so that it keeps a copy where it needs both layouts.
    package var repackedTypes: [String]
    /// GPUs whose memory is apart from the machine's; empty without any.
    package var accelerators: [Accelerator]
    package var observations: [Observation]

    /// A GPU with memory of its own.
    package struct Accelerator: Hashable, Sendable, Codable {
        package var name: String
        package var memoryTotal: ByteCount
        package var memoryAvailable: ByteCount

        package init(name: String, memoryTotal: ByteCount, memoryAvailable: ByteCount) {
            self.name = name
            self.memoryTotal = memoryTotal
            self.memoryAvailable = memoryAvailable
        }
    }

    /// How much slower than predicted real runs of one model were.
    package struct Observation: Hashable, Sendable, Codable {
        /// The model's name.
        package var model: String
        /// Measured over predicted time of single tokens; nil before any was computed.
        package var decodeFactor: Double?
        /// The same of prompts.
        package var promptFactor: Double?
        /// Of the file, while loading.
        package var loadBytesPerSecond: Double?

        package init(model: String) { self.model = model }
    }

    package init(
        engineBuild: String, device: String, threadCount: Int, matrices: [String: Matrix],
        attentionSecondsPerElement: Double, promptAttentionSecondsPerElement: Double,
        activationSecondsPerElement: Double, secondsPerOperation: Double, memoryBytesPerSecond: Double
    ) {
        self.engineBuild = engineBuild
        self.device = device
        self.threadCount = threadCount
        self.matrices = matrices
        self.attentionSecondsPerElement = attentionSecondsPerElement
        self.promptAttentionSecondsPerElement = promptAttentionSecondsPerElement
        self.activationSecondsPerElement = activationSecondsPerElement
        self.secondsPerOperation = secondsPerOperation
        self.memoryBytesPerSecond = memoryBytesPerSecond
        repackedTypes = []
        accelerators = []
        observations = []
    }

    /// Observed factors are believed within these bounds only.
    package static let factorRange = 0.1...10.0
    /// Models that a node remembers observations of.
    package static let observationCountMax = 32

    /// Whether all numbers are usable: they come from files and from other nodes.
    package var isPlausible: Bool {
        let times =
            [
                attentionSecondsPerElement, promptAttentionSecondsPerElement, activationSecondsPerElement,
                secondsPerOperation,
            ] + matrices.values.flatMap { [$0.secondsPerByte, $0.secondsPerElementAndToken] }
        return times.allSatisfy { $0.isFinite && $0 >= 0 && $0 < 1 } && memoryBytesPerSecond.isFinite
            && memoryBytesPerSecond > 0 && matrices.count <= NodeSpeed.matrixCountMax
            && repackedTypes.count <= NodeSpeed.matrixCountMax && accelerators.count <= NodeSpeed.acceleratorCountMax
            && observations.count <= NodeSpeed.observationCountMax && observations.allSatisfy(\.isPlausible)
    }

    private static let matrixCountMax = 64
    private static let acceleratorCountMax = 64
}

extension NodeSpeed.Observation {
    fileprivate var isPlausible: Bool {
        [decodeFactor, promptFactor].allSatisfy { $0.map(NodeSpeed.factorRange.contains) ?? true }
            && loadBytesPerSecond.map { $0.isFinite && $0 > 0 } ?? true
    }
}
