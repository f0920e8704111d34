/// Every bound of the system that is not a property of one component's configuration, in one place.
package enum Limits {
    /// A SHA-256 in hexadecimal.
    package static let nodeIDCharacterCountMax = 64
    /// More than any published model has; keeps arithmetic on foreign layer numbers far from overflow.
    package static let layerCountMax = 4096
    /// Stages of one instance.
    package static let stageCountMax = 64
    /// Entries of one micro-batch.
    package static let microBatchTokenCountMax = 4096
    /// KV operations that one micro-batch may carry.
    package static let kvOperationCountMax = 1024
    /// Sequences that one instance may run side by side.
    package static let sequenceCountMax = 256
    /// The longest context a request may ask for.
    package static let contextTokenCountMax = 1 << 20
    /// The description part of a frame: JSON of the control plane, or the entries of a micro-batch.
    package static let frameDescriptionByteCountMax = 8 << 20
    /// The payload part of a frame: activations of one micro-batch (4096 tokens x 16384 wide x 4 bytes).
    package static let framePayloadByteCountMax = 256 << 20
    /// An HTTP request body.
    package static let requestBodyByteCountMax = 8 << 20
    /// Stop sequences of one request (OpenAI allows four; local clients send more).
    package static let stopSequenceCountMax = 16
    /// Bytes of one stop sequence.
    package static let stopSequenceByteCountMax = 1024
    /// Requests waiting for a free sequence at one head.
    package static let queuedRequestCountMax = 256
    /// Tokens that a request may be ahead of its reader before its sequence pauses.
    package static let unacknowledgedTokenCountMax = 256
    /// Stock workers whose traffic one node carries.
    package static let foreignWorkerCountMax = 15
    /// Peers of one node.
    package static let peerCountMax = 512
    /// The longest that an invite may last: 30 days.
    package static let inviteLifetimeSecondsMax = 30 * 86400
    /// Instances of one cluster.
    package static let instanceCountMax = 256
}
