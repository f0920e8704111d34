/// Notices that a running llama-server computes nothing though it has something to compute: a frozen worker, a deadlock
/// between workers, a frozen server. /health shows none of them.
///
/// llama-server's model loop answers a small question (`/slots`) between two batches. While it does, all is well. While
/// it does not, a batch must be moving: bytes cross a tunnel, or a process of the instance uses its processor.
package struct ComputeWatchdog: Sendable {
    package struct Configuration: Hashable, Sendable {
        /// Without any sign of life for so long, the instance counts as hung.
        package var stallMax = Duration.seconds(15)
        /// The same where a worker's processor time cannot be seen, because the worker is not Shoal's.
        package var blindStallMax = Duration.seconds(120)
        /// The share of one processor that counts as work; answering health checks uses less.
        package var busyShareMin = 0.05

        package init() {}
    }

    package let configuration: Configuration
    /// Whether a worker of the instance computes unseen.
    package let hasBlindSpot: Bool
    private var aliveAt: Duration
    private var tunnelByteCount = 0
    private var processor: (seconds: Double, at: Duration)?

    package init(configuration: Configuration = Configuration(), hasBlindSpot: Bool, now: Duration) {
        self.configuration = configuration
        self.hasBlindSpot = hasBlindSpot
        aliveAt = now
    }

    /// The model loop answered.
    package mutating func loopAnswered(now: Duration) { aliveAt = now }

    /// Bytes through all tunnels so far.
    package mutating func tunnelsCarried(_ byteCount: Int, now: Duration) {
        if byteCount != tunnelByteCount { aliveAt = now }
        tunnelByteCount = byteCount
    }

    /// Processor seconds of all processes of the instance so far, as far as they are known.
    package mutating func processorsUsed(_ seconds: Double, now: Duration) {
        defer { processor = (seconds, now) }
        guard let last = processor, now > last.at else { return }
        if seconds - last.seconds >= configuration.busyShareMin * ((now - last.at) / .seconds(1)) { aliveAt = now }
    }

    /// How long nothing has shown life.
    package func silence(now: Duration) -> Duration { now - aliveAt }

    package func isHung(now: Duration) -> Bool {
        silence(now: now) > (hasBlindSpot ? configuration.blindStallMax : configuration.stallMax)
    }
}
