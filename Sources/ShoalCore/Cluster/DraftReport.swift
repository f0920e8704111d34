/// The draft model of an instance, on its head's node.
package struct DraftReport: Hashable, Sendable, Codable {
    package var model: String
    /// `loading`, `ready`, `recovering` while it waits for another start, `stopped`.
    package var phase: InstancePhase
    /// What its weights take, as planned until it is loaded.
    package var weightBytes: ByteCount
    package var residentBytes: ByteCount?
    package var loadSeconds: Double?
    package var engineProcessID: Int32?
    package var restartCount: Int
    /// Measured, for one answer; nil before.
    package var secondsPerToken: Double?
    /// Share of its guesses that were right lately, 0 to 1; nil before the first.
    package var acceptance: Double?
    /// Guesses that were sent and judged, and those of them that were right.
    package var draftedTokenCount: Int
    package var acceptedTokenCount: Int
    /// Why it is not ready.
    package var problem: String?

    package init(model: String, phase: InstancePhase, weightBytes: ByteCount) {
        self.model = model
        self.phase = phase
        self.weightBytes = weightBytes
        restartCount = 0
        draftedTokenCount = 0
        acceptedTokenCount = 0
    }
}
