package import NIOCore
package import ShoalCore

/// What a frame is. The first byte range is the data plane, the second the engine's own, the third the control plane.
package enum FrameKind: UInt8, Sendable, CaseIterable {
    // Data plane: between stages, and between a node and its engines.
    /// A micro-batch on its way down the stages. Description: `MicroBatch`; payload: nothing (the entries' tokens are
    /// the input) or activations, as the description's `activations` says.
    case microBatch = 0x01
    /// The last stage's answer to a micro-batch. Description: sampled tokens; payload: logits if they were asked for.
    case outputs = 0x02
    /// A micro-batch could not be computed. Description: JSON `ShoalError`.
    case microBatchFailed = 0x03

    // Between a node and its engine.
    /// Description: JSON, see ShoalEngine's EngineMessages.
    case engineRequest = 0x20
    case engineReply = 0x21
    /// Unasked for: load progress. Description: JSON.
    case engineEvent = 0x22

    // Control plane, between nodes. Descriptions are JSON.
    /// First frame of either side on every link.
    case hello = 0x40
    case ping = 0x41
    case pong = 0x42
    /// Expects a `controlReply` with the same batch number.
    case controlRequest = 0x43
    case controlReply = 0x44
    /// One-way.
    case controlEvent = 0x45
    /// The side that sends it closes the link; description: JSON `ShoalError`.
    case goodbye = 0x46
    /// A node that is no member asks to become one, or is answered: before the hello.
    case admission = 0x47
}

/// The fixed part of every frame, 36 bytes, big-endian. `docs/protocol.md` is its specification.
package struct FrameHeader: Hashable, Sendable {
    package static let byteCount = 36
    /// "SHOL".
    package static let magic: UInt32 = 0x5348_4F4C

    package var kind: FrameKind
    package var flags: FrameFlags
    /// Zero on frames that belong to no instance.
    package var instance: InstanceID
    /// Counts restarts of an instance's pipeline; frames of another generation are dropped.
    package var generation: UInt32
    /// The micro-batch number on the data plane, the correlation number of requests and replies elsewhere.
    package var number: UInt64
    package var descriptionByteCount: UInt32
    package var payloadByteCount: UInt32
}

/// Modifiers of a frame.
package struct FrameFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// On `microBatch`: the outputs must carry the logits of every entry that wants an output, as payload.
    package static let wantsLogits = FrameFlags(rawValue: 1 << 0)
    /// On `controlReply`: the request failed; the description is a JSON `ShoalError`.
    package static let failed = FrameFlags(rawValue: 1 << 1)
    /// On `microBatch` and `outputs`: the description ends with the times of at least one stage.
    package static let hasTimes = FrameFlags(rawValue: 1 << 2)
}

/// One message between two processes.
package struct Frame: Hashable, Sendable {
    package var kind: FrameKind
    package var flags: FrameFlags
    package var instance: InstanceID
    package var generation: UInt32
    package var number: UInt64
    package var description: ByteBuffer
    package var payload: ByteBuffer

    package init(
        kind: FrameKind, flags: FrameFlags = [], instance: InstanceID = InstanceID(rawValue: 0), generation: UInt32 = 0,
        number: UInt64 = 0, description: ByteBuffer = ByteBuffer(), payload: ByteBuffer = ByteBuffer()
    ) {
        self.kind = kind
        self.flags = flags
        self.instance = instance
        self.generation = generation
        self.number = number
        self.description = description
        self.payload = payload
    }

    /// Bytes of the whole frame on the wire.
    package var byteCount: Int { FrameHeader.byteCount + description.readableBytes + payload.readableBytes }
}

/// How activations or logits lie in a payload: row-major, little-endian.
package struct TensorDescription: Hashable, Sendable {
    /// Element types on the wire.
    package enum ElementType: UInt8, Sendable, CaseIterable {
        case float32 = 0
        case float16 = 1
        /// Blocks of 32 elements: a float16 scale, then 32 signed bytes. Rows are whole blocks. Source: ggml's Q8_0.
        case q8 = 2

        /// Elements that cannot be told apart on the wire.
        package var blockElementCount: Int { self == .q8 ? 32 : 1 }
        package var blockByteCount: Int {
            switch self {
            case .float32: 4
            case .float16: 2
            case .q8: 34
            }
        }
    }

    package var elementType: ElementType
    /// One row per entry.
    package var rowCount: UInt32
    /// Elements of a row: the embedding width, or the vocabulary for logits.
    package var width: UInt32

    package init(elementType: ElementType, rowCount: UInt32, width: UInt32) {
        self.elementType = elementType
        self.rowCount = rowCount
        self.width = width
    }

    /// Nil when the product overflows, or rows are not whole blocks.
    package var payloadByteCount: Int? {
        let (blocks, rest) = Int(width).quotientAndRemainder(dividingBy: elementType.blockElementCount)
        guard rest == 0 else { return nil }
        let (blockCount, overflow) = Int(rowCount).multipliedReportingOverflow(by: blocks)
        let (bytes, overflow2) = blockCount.multipliedReportingOverflow(by: elementType.blockByteCount)
        return overflow || overflow2 ? nil : bytes
    }
}

/// The description part of a `microBatch` frame, decoded.
package struct MicroBatchDescription: Hashable, Sendable {
    package var batch: MicroBatch
    /// Nil when the payload is empty and the entries' tokens are the input.
    package var activations: TensorDescription?
    /// Of the stages that it has been through, in order.
    package var stages: [StageTimes]

    package init(batch: MicroBatch, activations: TensorDescription?, stages: [StageTimes] = []) {
        self.batch = batch
        self.activations = activations
        self.stages = stages
    }
}

/// The description part of an `outputs` frame, decoded.
package struct OutputsDescription: Hashable, Sendable {
    /// One per entry that wanted an output, in entry order.
    package var tokens: [SampledToken]
    /// Set when the payload carries logits, float32, one row per element of `tokens`.
    package var logits: TensorDescription?
    /// What the micro-batch cost in each stage, in order.
    package var stages: [StageTimes]

    package init(tokens: [SampledToken], logits: TensorDescription?, stages: [StageTimes] = []) {
        self.tokens = tokens
        self.logits = logits
        self.stages = stages
    }
}
