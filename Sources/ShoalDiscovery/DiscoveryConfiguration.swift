package import ShoalCore

/// What discovery is told at start, and its bounds.
package struct DiscoveryConfiguration: Sendable {
    package var node: NodeID
    package var cluster: ClusterTag
    /// Where this node accepts links.
    package var linkPort: UInt16
    package var protocolNumber = ShoalVersion.protocolNumber
    /// UDP port of beacons: the same on every node of a network.
    package var beaconPort: UInt16 = 7461
    /// Administratively scoped; beacons carry a time to live of 1. Source: RFC 2365.
    package var multicastGroup4 = "239.255.74.61"
    /// Link-local scope.
    package var multicastGroup6 = "ff02::5348:4f4c"
    /// Whether beacons are sent and listened for; other sources work without.
    package var usesBeacons = true
    /// How often the interfaces are read again.
    package var interfaceInterval = Duration.seconds(3)
    /// A beacon not repeated for so long is forgotten: four of the seldom ones.
    package var beaconLifetime = Duration.seconds(65)
    package var gossipLifetime = Duration.seconds(600)
    package var candidateCountMax = 2048
    package var candidatesPerNodeMax = 8
    /// Several nodes may run on one machine.
    package var candidatesPerHostMax = 16
    /// Datagrams of one sender that are looked at at once, and per second afterwards.
    package var datagramBurst = 40
    package var datagramsPerSecond = 5.0
    package var datagramSourceCountMax = 1024
    /// One node is answered once in so long.
    package var replyInterval = Duration.seconds(4)
    /// Nodes whose last reply is remembered.
    package var replyMemoryCountMax = 1024
    /// Dials under way at once.
    package var dialCountMax = 16
    /// The pause after the first failed dial; doubles up to `retryPauseMax`.
    package var retryPauseMin = Duration.milliseconds(500)
    package var retryPauseMax = Duration.seconds(15)
    /// Both sides hear each other; the one with the larger id waits so long, so that one link is made and not two.
    package var laterSideDelay = Duration.milliseconds(250)

    package init(node: NodeID, cluster: ClusterTag, linkPort: UInt16) {
        self.node = node
        self.cluster = cluster
        self.linkPort = linkPort
    }
}
