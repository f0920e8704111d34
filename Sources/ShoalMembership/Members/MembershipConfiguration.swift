import ShoalCore

/// The timeouts and bounds of failure detection.
///
/// Budget of a frozen or unplugged node, worst case: it freezes just after an answer, is asked again after one
/// `probeInterval` (1.0 s), the probe fails `probeTimeout` later (2.2 s), one tick and the gossip of it (2.8 s):
/// suspect everywhere in 3 s. The suspicion timeout and its gossip follow (7.3 s): dead everywhere in 8 s.
package struct MembershipConfiguration: Hashable, Sendable {
    /// How often `tick` is called. Shorter reacts faster and wakes phones more often.
    package var tickInterval = Duration.milliseconds(100)
    /// How often each watched member is asked. Shorter detects sooner; traffic is `2 * watchedCount / probeInterval`
    /// messages of about 200 bytes per node.
    package var probeInterval = Duration.milliseconds(1000)
    /// When others are asked to try, too. Must be longer than a normal stall (300 ms on WiFi) and a round trip.
    package var directTimeout = Duration.milliseconds(500)
    /// When a probe has failed, counted from its ping. The part after `directTimeout` is what the indirect way has.
    package var probeTimeout = Duration.milliseconds(1200)
    /// How long a suspect has to object. Shorter finds dead nodes sooner and kills nodes that only stalled.
    package var suspicionTimeout = Duration.milliseconds(4500)
    /// The same for a suspect whose connections closed, which stalls do not do. Long enough for others to reach it and
    /// a 300 ms stall; short enough that a killed node is dead everywhere in 1 s.
    package var closedTimeout = Duration.milliseconds(500)
    /// Members that are asked each interval: the next ones in the ring of ids, so that the delay of detection has a
    /// bound; in a cluster of up to this many peers, all of them. More detects the loss of neighbours together sooner.
    package var watchedCount = 5
    /// Further members asked each interval, at random, for what a ring does not see.
    package var randomProbeCount = 1
    /// Members asked to try for us. Each more makes a false suspicion rarer and a failure costs two messages more.
    package var relayCount = 3
    /// How often one dead member is asked, so that a partition heals without discovery.
    package var deadProbeInterval = Duration.milliseconds(2000)
    /// Members told each tick while there is news. More is faster and costs bandwidth while things change.
    package var gossipFanout = 4
    /// News is told `gossipFactor * log2(members + 1)` times by each node. More survives more loss.
    package var gossipFactor = 3
    /// The least time between two whole tables sent because digests differ.
    package var syncInterval = Duration.milliseconds(1000)
    /// A tick this much late means that this node slept, and nobody else did wrong. Above scheduling noise, below
    /// `directTimeout`.
    package var stallThreshold = Duration.milliseconds(400)
    /// How long a dead row stays. Longer protects against older news and keeps asking longer for the node's return.
    package var tombstoneLifetime = Duration.seconds(600)
    /// Bounds a message: 32 rumors are about 4 KB of JSON.
    package var rumorsPerMessageMax = 32
    /// Rows, dead ones included. A full table drops its oldest tombstone, or ignores the newcomer.
    package var memberCountMax = Limits.peerCountMax
    /// Pings in flight for others.
    package var relayedProbeCountMax = 64
    /// No node restarts this often; a larger number is a bug or an attack and would leave no room to object.
    package var incarnationMax: UInt64 = 1 << 53

    package init() {}
}
